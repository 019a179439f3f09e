"""Settings that are paths: made absolute once, when they are checked.

A path of a TOML file is relative to the folder of that file; every other one is relative to the
working folder. Some settings may be something else, such as a web address or the name of a model:
their types below say what stays as it is.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from idrstream.config.model_names import BUILT_IN, BUILT_IN_4, SHIPPED_MODELS

_COORDINATE = re.compile(r"[\w.-]+:[\w.-]+(:[\w.-]+)?(\+[\w.:-]+)*")


def absolute_path(given: str | os.PathLike[str], folder: Path | None = None) -> Path:
    """Return a path that stays the same whatever becomes the working folder.

    Parameters
    ----------
    given : str or path
        Relative, absolute, or with ``~`` for a home folder.
    folder : Path, optional
        What it is relative to; by default the working folder.

    Returns
    -------
    Path
        Absolute. Links in it are kept; a ``..`` is kept only after a link.

    Raises
    ------
    ValueError
        If it is empty, has a zero byte, or names the home of a user that there is not.
    """
    text = os.path.expanduser(given)  # noqa: PTH111, which leaves an unknown user as it is
    if not text:
        msg = "a path is missing: the text is empty"
    elif "\0" in text:
        msg = f"{text!r} is no path: it has a zero byte"
    elif text.startswith("~"):
        msg = f"{text!r}: there is no such user; for a file of that name write ./{text}"
    else:
        path = ((folder or Path.cwd()) / text).absolute()
        shorter = Path(os.path.normpath(path))
        return shorter if shorter.resolve() == path.resolve() else path
    raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class PathText:
    """Marks a setting whose text is a path, or may be one.

    Attributes
    ----------
    resolve : callable
        Takes a text that is not empty, and the folder that it is relative to; returns the absolute
        path, or the text itself if it is none.
    several : bool
        Whether it may be several, as a list or separated by commas.
    kind : {"", "file", "folder"}
        What it is if it is there already; empty if it may be either.
    """

    resolve: Callable[[str, Path], str | Path] = absolute_path
    several: bool = False
    kind: Literal["", "file", "folder"] = ""

    def resolved(self, value: Any, folder: Path) -> Any:
        """Return a value, or each of several, with its path absolute.

        What is no text is left to the check of the setting's type.

        Raises
        ------
        ValueError
            As `absolute_path`.
        """
        text = value if isinstance(value, str) and self.several else ""
        if "," in text and not absolute_path(text, folder).exists():
            value = [item.strip() for item in text.split(",") if item.strip()]
        if isinstance(value, (list, tuple)):
            return tuple(self.resolved(item, folder) for item in value)
        if isinstance(value, os.PathLike):
            return absolute_path(value, folder)
        if isinstance(value, str):
            return self.resolve(value.strip(), folder) if value.strip() else ""
        return value

    def _check_kind(self, value: Any) -> None:
        """Refuse a folder in the place of a file, and a file in that of a folder."""
        for one in value if isinstance(value, tuple) else (value,):
            path = Path(one) if isinstance(one, (str, os.PathLike)) and str(one) else None
            if path is None or not path.is_absolute():  # an address, the name of a model
                continue
            if self.kind == "file" and path.is_dir():
                raise ValueError(f"{path} is a folder; name a file")
            if self.kind == "folder" and path.is_file():
                raise ValueError(f"{path} is a file; name a folder")

    def __get_pydantic_core_schema__(self, kind: Any, handler: Any) -> Any:
        """Return how pydantic checks a setting of this type."""
        from pydantic_core import core_schema

        def check(value: Any) -> Any:
            value = self.resolved(value, Path.cwd())
            self._check_kind(value)
            if kind is Path and isinstance(value, str):
                return absolute_path(value)  # an empty text, which is refused
            if kind is str and isinstance(value, Path):
                return str(value)
            if get_origin(kind) is tuple and isinstance(value, str):
                return (value,) if value else ()
            return None if value == "" and kind is not str else value

        return core_schema.no_info_before_validator_function(check, handler(kind))


def _unless_address(text: str, folder: Path) -> str:
    return text if "://" in text else str(absolute_path(text, folder))


def _unless_coordinate(text: str, folder: Path) -> str:
    return text if is_coordinate(text) else str(absolute_path(text, folder))


def _unless_model(text: str, folder: Path) -> str:
    """Keep names of models: those known, and words that no file in the folder has."""
    if text in (*SHIPPED_MODELS, *BUILT_IN, *BUILT_IN_4):
        return text
    path = absolute_path(text, folder)
    return str(path) if _is_more_than_a_word(text) or path.is_file() else text


def _program(text: str, folder: Path) -> Path:
    """Look up a word that no file in the folder has where the shell looks up programs."""
    path = absolute_path(text, folder)
    found = None if _is_more_than_a_word(text) or path.exists() else shutil.which(text)
    return absolute_path(found) if found else path


def _is_more_than_a_word(text: str) -> bool:
    return "/" in text or os.sep in text or text.startswith("~")


def is_coordinate(text: str) -> bool:
    """Return whether a text is a Maven coordinate, such as ``sc.fiji:fiji:2.14.0``."""
    return _COORDINATE.fullmatch(text) is not None


FilePath = Annotated[Path, PathText()]
"""A file that must be given; who reads it says what a folder there may mean."""
FolderPath = Annotated[Path, PathText(kind="folder")]
"""A folder; must be given."""
OptionalFile = Annotated[Path | None, PathText(kind="file")]
"""A file; an empty text means none, not the working folder."""
OptionalFolder = Annotated[Path | None, PathText(kind="folder")]
"""A folder; an empty text means none."""
FilePaths = Annotated[Path | tuple[Path, ...] | None, PathText(several=True, kind="file")]
"""A file or several, on a command line separated by commas."""
Program = Annotated[Path | None, PathText(_program, kind="file")]
"""A program: a file, or a word that is looked up in PATH."""
FolderOrAddress = Annotated[str, PathText(_unless_address, kind="folder")]
"""A folder, or the address of one."""
FoldersOrAddresses = Annotated[
    tuple[str, ...], PathText(_unless_address, several=True, kind="folder")
]
"""Folders or addresses."""
PathOrCoordinate = Annotated[str, PathText(_unless_coordinate, kind="folder")]
"""A folder, or a Maven coordinate."""
PathOrModel = Annotated[str, PathText(_unless_model, kind="file")]
"""A model file, or the name of a model."""
