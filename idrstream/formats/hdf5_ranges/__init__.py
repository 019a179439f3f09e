"""Chunks of an HDF5 file, located by reading a few byte ranges of it."""
