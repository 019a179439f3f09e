"""What steps leave for the next one: movies, decoded frames and arrays, each under a digest.

The digest is of everything that changes the content: the image, and the settings of the step and
of those before it. So a changed setting finds what it leaves alone, and nothing outdated.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from idrstream.errors import FrameError
from idrstream.files import atomic_file, delete_folder
from idrstream.formats.reader import BaseReader, MovieInfo, Pixels
from idrstream.records import ImageTask, Movie
from idrstream.step.packing import Arrays

_MOVIE = "movie.json"
_SPARSE = ("segment",)  # label images, which shrink to little


def digest(*parts: Any) -> str:
    """Return a name for what follows from some values, which JSON can hold."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Kept:
    """The folder of what was kept.

    Parameters
    ----------
    folder : Path
        A folder of its own.

    Attributes
    ----------
    made, taken : Mapping[str, set]
        Digests of what each step made, and of what it found.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: defaultdict[str, set[str]] = defaultdict(set)
        self.taken: defaultdict[str, set[str]] = defaultdict(set)

    def note(self, step: str, key: str, *, made: bool) -> None:
        """Note that a step was run, or that its result was there."""
        if made:
            self.made[step].add(key)
        elif key not in self.made[step]:  # it was not there before
            self.taken[step].add(key)

    def arrays(self, kind: str, key: str) -> Arrays | None:
        """Return what was kept under a digest; None if nothing that can be read."""
        try:
            with np.load(self._path(kind, key), allow_pickle=False) as file:
                return dict(file)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None

    def keep(self, kind: str, key: str, arrays: Arrays) -> None:
        """Keep arrays under a digest."""
        with atomic_file(self._path(kind, key), durable=False) as file:
            (np.savez_compressed if kind in _SPARSE else np.savez)(file, **arrays)

    def movie_folder(self, key: str) -> Path:
        """Return the folder of a movie."""
        return self.folder / "movies" / key

    def movie(self, key: str, task: ImageTask) -> Movie | None:
        """Return a movie that was kept and is as it was; None without one."""
        folder = self.movie_folder(key)
        try:
            known = json.loads((folder / _MOVIE).read_text(encoding="utf-8"))
            movie = _movie(known["movie"], folder, task)
            return movie if known["files"] == signatures(movie) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def clear_movie(self, key: str) -> Path:
        """Return the folder of a movie, empty."""
        folder = self.movie_folder(key)
        delete_folder(folder)
        folder.mkdir(parents=True)
        return folder

    def keep_movie(self, key: str, movie: Movie) -> None:
        """Note a movie that lies in its folder, or where its source has it."""
        folder = self.movie_folder(key)
        known = {"movie": _said(movie, folder), "files": signatures(movie)}
        with atomic_file(folder / _MOVIE, durable=False) as file:
            file.write(json.dumps(known).encode())

    def _path(self, kind: str, key: str) -> Path:
        return self.folder / kind / f"{key}.npz"


def signatures(movie: Movie) -> list[list[int]]:
    """Return size and modification time of the files of a movie."""
    states = [file.path.stat() for file in movie.files]
    return [[state.st_size, state.st_mtime_ns] for state in states]


def _said(movie: Movie, folder: Path) -> dict[str, Any]:
    path = movie.path
    return {
        "path": str(path.relative_to(folder) if folder in path.parents else path.absolute()),
        "source": movie.source,
        "size_bytes": movie.size_bytes,
        "frames": movie.frames,
        "bytes_moved": movie.bytes_moved,
        "requests": movie.requests,
        "channels": {name: _said(one, folder) for name, one in movie.channels.items()},
    }


def _movie(said: dict[str, Any], folder: Path, task: ImageTask) -> Movie:
    said = dict(said)
    path, frames, channels = said.pop("path"), said.pop("frames"), said.pop("channels")
    return Movie(
        folder / path,
        task,
        frames=None if frames is None else tuple(frames),
        channels={name: _movie(one, folder, task) for name, one in channels.items()},
        **said,
    )


class KeptReader(BaseReader):
    """Reads every frame once, and keeps its pixels for the next time.

    Parameters
    ----------
    reader : BaseReader
        Decodes the files.
    kept : Kept
        Where pixels are kept.
    """

    def __init__(self, reader: BaseReader, kept: Kept) -> None:
        self._reader = reader
        self._kept = kept
        self.selection = reader.selection
        self.selects = reader.selects
        self.name = reader.name

    def at(self, **changes: Any) -> Self:
        """Return what reads something else of the same files."""
        return type(self)(self._reader.at(**changes), self._kept)

    def finds_sites_in(self, path: str) -> bool:
        """Return whether other pixels of a file are read for another site."""
        return self._reader.finds_sites_in(path)

    def describe(self) -> dict[str, object]:
        """Return what changes a result."""
        return self._reader.describe()

    def info(self, path: Path) -> MovieInfo:
        """Return what the movie has."""
        key = self._key(path)
        found = self._kept.arrays("info", key)
        if found is None:
            info = self._reader.info(path)
            self._kept.keep("info", key, {"info": np.array(json.dumps(asdict(info)))})
            return info
        return _info(found)

    def read(self, path: Path, numbers: Sequence[int]) -> dict[int, Pixels | FrameError]:
        """Return frames, of which those that were never read before are decoded."""
        keys = {number: digest(self._key(path), number) for number in numbers}
        found: dict[int, Pixels | FrameError] = {}
        for number, key in keys.items():
            known = self._kept.arrays("decoded", key)
            if known is not None:
                found[number] = known["pixels"]
                self._kept.note("decoded", key, made=False)
        missing = [number for number in keys if number not in found]
        if missing:
            for number, pixels in self._reader.read(path, missing).items():
                found[number] = pixels
                self._kept.note("decoded", keys[number], made=True)
                if not isinstance(pixels, FrameError):
                    self._kept.keep("decoded", keys[number], {"pixels": pixels})
        return {number: found[number] for number in numbers}

    def interrupt(self) -> None:
        """Stop reading at once."""
        self._reader.interrupt()

    def close(self) -> None:
        """Release what the reader holds."""
        self._reader.close()

    def _key(self, path: Path) -> str:
        state = path.stat()
        chosen = asdict(replace(self.selection))
        return digest(str(path), state.st_size, state.st_mtime_ns, chosen, self.describe())


def _info(arrays: Arrays) -> MovieInfo:
    said: dict[str, Any] = json.loads(str(arrays["info"]))
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
    return MovieInfo(**values)
