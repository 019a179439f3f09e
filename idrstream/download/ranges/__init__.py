"""The needed frames of a remote movie, by byte ranges."""
