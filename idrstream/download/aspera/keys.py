"""The private keys for ascp: whether they are usable, and which one the server accepts."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from idrstream.errors import ConfigError

logger = logging.getLogger("idrstream.download.aspera.transport")

_TRIES = 2
_PUBLIC = (b"ssh-rsa ", b"ssh-dss ", b"-----BEGIN PUBLIC", b"---- BEGIN SSH2 PUBLIC")


def check_key(path: Path) -> None:
    """Check one key before any transfer.

    Raises
    ------
    ConfigError
        If it is missing, not readable, a public key or one in PuTTY's format.
    """
    if not path.is_file():
        msg = f"the Aspera key {path} does not exist"
        raise ConfigError(msg)
    if not os.access(path, os.R_OK):
        msg = f"the Aspera key {path} is not readable by you (chmod u+r)"
        raise ConfigError(msg)
    if stat.S_IMODE(path.stat().st_mode) & 0o022:
        logger.warning("others may change the Aspera key %s (chmod go-w)", path)
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"PuTTY-User-Key-File"):
        msg = f"the Aspera key {path} is in PuTTY's format; use the .openssh or .pem file beside it"
        raise ConfigError(msg)
    if head.startswith(_PUBLIC):
        msg = f"the Aspera key {path} is a public key; ascp needs the private one"
        raise ConfigError(msg)


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
