"""Threads and helper processes of a stream."""
