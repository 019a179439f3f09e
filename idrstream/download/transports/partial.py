"""The partial file ``<name>.part`` beside the target, and the note that verifies it.

Every few megabytes the file is flushed to disk, and a small note beside it records how many
bytes are good, their SHA-256, and the address and version they belong to. If a crash leaves
both, a later transfer of the same version resumes from there; bytes that the note does not cover
are discarded. A transfer that ends, successfully or not, leaves neither.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from idrstream.errors import DownloadError, StorageError
from idrstream.files import atomic_path, leftovers_of
from idrstream.text import parse_json

logger = logging.getLogger("idrstream.download")

PART_SUFFIX = ".part"
NOTE_SUFFIX = ".part.json"
SIDECAR_SUFFIX = ".source.json"
CHECKPOINT_BYTES = 8 << 20
"""A note is written after so many new bytes."""

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_BLOCK_BYTES = 1 << 20


class PartialFile:
    """A file that grows beside its target.

    Parameters
    ----------
    target : Path
        The final file.
    address : str
        Where the bytes come from.
    checkpoint_bytes : int
        A note is written after so many new bytes.

    Raises
    ------
    StorageError
        If the disk is full or read-only.
    DownloadError
        If the file cannot be written for another reason.
    """

    def __init__(
        self, target: Path, address: str, checkpoint_bytes: int = CHECKPOINT_BYTES
    ) -> None:
        self.target = target
        self.path = target.with_name(target.name + PART_SUFFIX)
        self.address = address
        self.version = ""
        self.stated_bytes: int | None = None
        self.have_bytes = 0
        self._note = target.with_name(target.name + NOTE_SUFFIX)
        self._checkpoint_bytes = checkpoint_bytes
        self._noted_bytes = 0
        self._digest = hashlib.sha256()
        with _write_errors(self.path):
            self._file: BinaryIO = self.path.open("a+b")
        try:
            self._resume()
        except BaseException:
            self._file.close()
            raise

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes so far, hexadecimal."""
        return self._digest.hexdigest()

    def digest(self, kind: str) -> str:
        """Return the ``sha256`` or ``md5`` of the bytes so far, hexadecimal."""
        if kind == "sha256":
            return self.sha256
        digest = hashlib.new(kind, usedforsecurity=False)
        with self.path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def restart(self) -> None:
        """Discard all bytes."""
        with _write_errors(self.path):
            self._file.truncate(0)
        self._note.unlink(missing_ok=True)
        self.version, self.stated_bytes = "", None
        self.have_bytes = self._noted_bytes = 0
        self._digest = hashlib.sha256()

    def append(self, block: bytes) -> None:
        """Write bytes at the end."""
        with _write_errors(self.path):
            self._file.write(block)
        self._digest.update(block)
        self.have_bytes += len(block)
        if self.version and self.have_bytes - self._noted_bytes >= self._checkpoint_bytes:
            self._write_note()

    def flush(self) -> None:
        """Flush everything to disk."""
        with _write_errors(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def publish(self) -> None:
        """Give the file its final name, safe against a power cut."""
        self.flush()
        self._file.close()
        with _write_errors(self.target):
            self.path.replace(self.target)
        self._note.unlink(missing_ok=True)
        sync_folder(self.target.parent)

    def discard(self) -> None:
        """Delete file and note."""
        self._file.close()
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _write_note(self) -> None:
        self.flush()
        note = {
            "address": self.address,
            "version": self.version,
            "size_bytes": self.stated_bytes,
            "have_bytes": self.have_bytes,
            "sha256": self.sha256,
        }
        write_json(self._note, note)
        self._noted_bytes = self.have_bytes

    def _resume(self) -> None:
        """Keep what a crash left, as far as its note verifies it."""
        for old in leftovers_of(self._note):
            old.unlink(missing_ok=True)
        note = _read_note(self._note)
        if note is None or note["address"] != self.address or not self._verify(note):
            self.restart()
            return
        self.version, self.stated_bytes = note["version"], note["size_bytes"]
        self._file.truncate(self.have_bytes)
        logger.info("%s: resumed at byte %d", self.target.name, self.have_bytes)

    def _verify(self, note: dict[str, Any]) -> bool:
        wanted = note["have_bytes"]
        self._file.seek(0)
        while self.have_bytes < wanted:
            block = self._file.read(min(_BLOCK_BYTES, wanted - self.have_bytes))
            if not block:
                return False
            self._digest.update(block)
            self.have_bytes += len(block)
        self._noted_bytes = self.have_bytes
        return bool(self.sha256 == note["sha256"])


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a small JSON file atomically.

    Raises
    ------
    StorageError, DownloadError
        If it cannot be written.
    """
    with _write_errors(path), atomic_path(path) as new:
        new.write_text(json.dumps(content, indent=1), encoding="utf-8")


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, if the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror or error}"
        kind = StorageError if error.errno in _DISK_FULL else DownloadError
        raise kind(msg) from error


def _read_note(path: Path) -> dict[str, Any] | None:
    try:
        note = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kinds = {"address": str, "version": str, "have_bytes": int, "sha256": str}
    if not isinstance(note, dict) or "size_bytes" not in note:
        return None
    if not all(isinstance(note.get(key), kind) for key, kind in kinds.items()):
        return None
    return note if note["version"] else None
