"""Watching and controlling a stream that runs."""
