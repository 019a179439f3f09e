"""The private keys for ascp: their kind, and which one the server accepts."""

from __future__ import annotations

import base64
import binascii
import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from idrstream.errors import ConfigError

logger = logging.getLogger("idrstream.download.aspera.transport")

KeyKind = Literal["RSA", "DSA", "unknown"]
_TRIES = 2


def key_kind(path: Path) -> KeyKind:
    """Return the kind of a private key, from its header or its first field.

    Raises
    ------
    ConfigError
        If it is not a private key that ascp can read: a public one, or PuTTY's.
    """
    head = path.read_bytes()[:4096]
    if head.startswith(b"PuTTY-User-Key-File"):
        msg = f"the Aspera key {path} is in PuTTY's format; use the .openssh or .pem file beside it"
        raise ConfigError(msg)
    if head.startswith((b"ssh-rsa ", b"ssh-dss ", b"-----BEGIN PUBLIC", b"---- BEGIN SSH2 PUBLIC")):
        msg = f"the Aspera key {path} is a public key; ascp needs the private one"
        raise ConfigError(msg)
    for kind in ("RSA", "DSA"):
        if f"-----BEGIN {kind} PRIVATE KEY-----".encode() in head:
            return kind
    if b"-----BEGIN OPENSSH PRIVATE KEY-----" in head:
        body = b"".join(line for line in head.splitlines()[1:] if not line.startswith(b"-"))
        try:
            text = base64.b64decode(body[: len(body) // 4 * 4])
        except binascii.Error:
            return "unknown"
        return "RSA" if b"ssh-rsa" in text else "DSA" if b"ssh-dss" in text else "unknown"
    return "unknown"


def check_key(path: Path) -> KeyKind:
    """Check one key before any transfer; return its kind.

    Raises
    ------
    ConfigError
        If it is missing, not readable, or no private key.
    """
    if not path.is_file():
        msg = f"the Aspera key {path} is not there"
        raise ConfigError(msg)
    if not os.access(path, os.R_OK):
        msg = f"the Aspera key {path} is not readable by you (chmod u+r)"
        raise ConfigError(msg)
    if stat.S_IMODE(path.stat().st_mode) & 0o022:
        logger.warning("others may change the Aspera key %s (chmod go-w)", path)
    return key_kind(path)


class Keys:
    """The key to use: a key that is refused twice is replaced by the next one.

    A busy server refuses good keys too, hence twice.

    Parameters
    ----------
    paths : sequence of Path
        In order of preference.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self._refused = 0

    @property
    def current(self) -> Path:
        """The key to use."""
        return self._paths[0]

    def refused(self) -> bool:
        """Record that the server refused the key; return whether to retry."""
        self._refused += 1
        if self._refused < _TRIES:
            return True
        if len(self._paths) == 1:
            return False
        logger.info("the key %s is refused; trying %s", self._paths[0].name, self._paths[1].name)
        del self._paths[0]
        self._refused = 0
        return True
