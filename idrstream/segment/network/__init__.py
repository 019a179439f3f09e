"""Cellpose's network and mask dynamics, run on tiles of many frames together."""
