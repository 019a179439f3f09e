"""Where the chunks of an HDF5 file are, found by reading a few byte ranges of it."""
