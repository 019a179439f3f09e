"""The seal of a run: whether this user recorded its settings, on this machine, in this folder.

A journal may have been written by somebody else, or copied from elsewhere. Each run is recorded
with a digest (HMAC-SHA-256) of user, machine, path of the folder and settings, keyed with random
bytes that lie in `private_folder`. Who cannot read that key cannot seal settings; nor does a sealed
journal count on another machine, for another user, or after its folder was moved.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idrstream.errors import StorageError
from idrstream.folder.private import private_folder
from idrstream.opening import read_regular

log = logging.getLogger(__name__)

_KEY_BYTES = 32


def seal(folder: Path, settings: Mapping[str, Any] | None) -> str:
    """Return the seal of settings recorded in a folder.

    Parameters
    ----------
    folder : Path
        Output folder.
    settings : Mapping or None
        Settings as the journal has them.

    Returns
    -------
    str
        Hexadecimal; empty if the user has no place for a key.
    """
    try:
        key = _key(private_folder())
    except (OSError, StorageError) as error:
        log.debug("The settings are not sealed: %s", error)
        return ""
    what = [os.getuid(), socket.gethostname(), os.path.realpath(folder), settings]
    return hmac.new(key, json.dumps(what, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def is_sealed(folder: Path, settings: Mapping[str, Any] | None, found: object) -> bool:
    """Return whether `found` is the seal that this user would make now, here."""
    made = seal(folder, settings)
    return (
        bool(made)
        and isinstance(found, str)
        and hmac.compare_digest(made.encode(), found.encode("utf-8", "replace"))
    )


def _key(folder: Path) -> bytes:
    path = folder / "key"
    if not path.exists():
        part = folder / f".key.{secrets.token_hex(16)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        try:
            os.link(part, path)  # of several processes the first makes it
        except FileExistsError:
            pass
        finally:
            part.unlink()
    key = read_regular(path, _KEY_BYTES)
    if len(key) != _KEY_BYTES:
        msg = f"{path} is damaged: delete it"
        raise StorageError(msg)
    return key
