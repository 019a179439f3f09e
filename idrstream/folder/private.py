"""The user's own folder: locks of GPUs, and the key that marks what this user has written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from idrstream.errors import StorageError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private_folder() -> Path:
    """Return ``idrstream`` in the user's folder for state, which nobody else may use.

    It is ``$XDG_STATE_HOME/idrstream``, by default ``~/.local/state/idrstream``, with mode 0700.
    In a folder for temporary files, which all users share, somebody else could have made it.

    Raises
    ------
    StorageError
        If it cannot be made, is a link, or belongs to somebody else.
    """
    remedy = "set XDG_STATE_HOME to a folder of your own"
    try:
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        path = Path(home) / "idrstream"
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            msg = f"{path} is not a folder of your own: remove it, or {remedy}"
            raise StorageError(msg)
        if found.st_mode & _OTHERS:
            path.chmod(0o700)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home
        why = getattr(error, "strerror", None) or error
        msg = f"no folder can be made for idrstream's own state ({why}): {remedy}"
        raise StorageError(msg) from error
    return path
