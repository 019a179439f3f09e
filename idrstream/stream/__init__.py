"""The stream object of a notebook, and how it is built from settings."""

from __future__ import annotations

from idrstream.stream.stream import IdrStream

__all__ = ["IdrStream"]
