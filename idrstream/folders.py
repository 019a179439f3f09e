"""Folders that a stream writes to and deletes from must be where they seem to be."""

from __future__ import annotations

from pathlib import Path

from idrstream.errors import StorageError


def refuse_links(root: Path, *below: str) -> None:
    """Refuse folders of a stream that are links to somewhere else.

    A link in the place of a folder that is filled and emptied for every batch would make the
    stream write, and delete, in a folder that is not its own. Where `root` itself lies is the
    user's choice, also through links.

    Parameters
    ----------
    root : Path
        Folder that the user named.
    *below : str
        Paths under it, with forward slashes; each part of each is looked at.

    Raises
    ------
    StorageError
        Naming the link.
    """
    for relative in below:
        path = root
        for part in relative.split("/"):
            path = path / part
            if path.is_symlink():
                msg = (
                    f"{path} is a link, which may lead out of {root}: the stream deletes what is "
                    "in it; remove the link, or choose another folder"
                )
                raise StorageError(msg)
