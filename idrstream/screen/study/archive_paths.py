"""Paths in IDR's metadata, and names that may become part of one."""

from __future__ import annotations

import re

# IDR's metadata name files as its own servers saw them; all are in one public folder.
_ARCHIVE_PREFIXES = (
    "/uod/idr/filesets/", "/idr/filesets/", "/uod/idr/incoming/", "/nfs/bioimage/drop/",
)  # fmt: skip
_METADATA = re.compile(r"/(?:uod/idr|idr|data/idr)[/-]metadata/idr\d+[^/]*/(?P<inside>.+)")


def check_name(name: str) -> str | None:
    """Return why `name` cannot be a component of a path; None if it can."""
    if not name or name != name.strip():
        return "is empty or has blanks around it"
    if "/" in name or "\\" in name:
        return "has a path separator"
    if name.startswith("-"):
        return "begins with '-'"
    if ".." in name or name == ".":
        return "points to another folder"
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        return "has a control character"
    return None


def under_archive(path: str) -> str | None:
    """Return a path of IDR's metadata relative to the archive's root; None for other paths."""
    for prefix in _ARCHIVE_PREFIXES:
        if path.startswith(prefix):
            return path.removeprefix(prefix).lstrip("/")
    return None


def in_metadata(path: str) -> str | None:
    """Return a path of IDR's metadata relative to the study's repository; None for others."""
    match = _METADATA.fullmatch(path)
    return match["inside"] if match else None
