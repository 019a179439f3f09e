"""Correct the illumination of frames with BaSiC, at one of several contexts.

BaSiC (Peng et al. 2017, https://doi.org/10.1038/ncomms14836; basicpy's implementation) sees a
frame as ``pixels = flatfield * scene + darkfield``. Which frames the model is fitted on is the
context: the frame and its neighbours, the movie, or many wells of the plate.
"""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from idrstream.errors import ConfigError
from idrstream.opening import refuse_links
from idrstream.preprocess.basic import fit_basic
from idrstream.preprocess.plate_model import IlluminationModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from idrstream.formats.reader import MovieInfo
    from idrstream.records import ImageTask

__all__ = [
    "FrameContext",
    "Illumination",
    "IlluminationModel",
    "NoIllumination",
    "PerPlate",
    "WholeMovie",
    "context_frames",
    "fit_basic",
]

_LOG = logging.getLogger("idrstream.preprocess")
_PLATES_IN_MEMORY = 8  # a model has 11 MB
_NEIGHBOURS = 2
MOST_FRAMES = 32
"""Frames of a movie that a model is fitted on, evenly over its length: more make it no better."""


def context_frames(
    wanted: tuple[int, ...], n_frames: int, valid: Sequence[bool]
) -> tuple[int, ...]:
    """Return the frames that a movie's illumination is fitted on, as by the first IDR_stream.

    Parameters
    ----------
    wanted : tuple of int
        Wanted frames, counted from 1.
    n_frames : int
        Number of frames of the movie.
    valid : sequence of bool
        For each frame whether it holds data.

    Returns
    -------
    tuple of int
        Counted from 1, ascending, valid frames only. For one wanted frame: it and the two after
        it, or at the end of the movie the two before it. For several: the whole movie, of a
        long one `MOST_FRAMES` evenly over its length. Empty when the one wanted frame is outside
        the movie.
    """
    if len(wanted) == 1:
        (frame,) = wanted
        if not 1 <= frame <= n_frames:
            return ()
        first = frame if frame + _NEIGHBOURS <= n_frames else max(1, frame - _NEIGHBOURS)
        numbers = range(first, min(first + _NEIGHBOURS, n_frames) + 1)
    else:
        numbers = range(1, n_frames + 1)
    return _evenly([number for number in numbers if valid[number - 1]])


def _evenly(numbers: Sequence[int]) -> tuple[int, ...]:
    """Return at most `MOST_FRAMES` of the numbers, with the first and the last."""
    if len(numbers) <= MOST_FRAMES:
        return tuple(numbers)
    step = (len(numbers) - 1) / (MOST_FRAMES - 1)
    return tuple(numbers[round(one * step)] for one in range(MOST_FRAMES))


class Illumination(Protocol):
    """Which frames an image's illumination model is fitted on, and the model."""

    def context(self, wanted: tuple[int, ...], info: MovieInfo) -> tuple[int, ...]:
        """Return the frames to read for the model, counted from 1; often more than wanted."""
        ...

    def model_for(self, task: ImageTask, stack: Iterable[NDArray[Any]]) -> IlluminationModel | None:
        """Return the model for an image, given its context frames, or None for no correction.

        `stack` yields them one after the other, each with the shape ``(Y, X)``; it is not used
        when the model comes from elsewhere.
        """
        ...


@dataclass(frozen=True, slots=True)
class NoIllumination:
    """No correction."""

    name: str = "off"

    def describe(self) -> dict[str, object]:
        """Return what changes a result."""
        return {"context": self.name}

    def context(self, wanted: tuple[int, ...], info: MovieInfo) -> tuple[int, ...]:  # noqa: ARG002
        """Return no frames."""
        return ()

    def model_for(
        self,
        task: ImageTask,  # noqa: ARG002
        stack: Iterable[NDArray[Any]],  # noqa: ARG002
    ) -> IlluminationModel | None:
        """Return None."""
        return None


@dataclass(frozen=True, slots=True)
class _PerMovie:
    """A model for each movie, fitted on its context frames."""

    darkfield: bool = False
    name: str = ""

    def describe(self) -> dict[str, object]:
        """Return what changes a result."""
        return {"context": self.name, "darkfield": self.darkfield, "most_frames": MOST_FRAMES}

    def model_for(self, task: ImageTask, stack: Iterable[NDArray[Any]]) -> IlluminationModel:
        """Fit a model on the context frames of one image.

        Raises
        ------
        MovieError
            If no model can be fitted on them.
        """
        source = f"{task.name} site {task.site}"
        return fit_basic(stack, darkfield=self.darkfield, context=self.name, source=source)


@dataclass(frozen=True, slots=True)
class FrameContext(_PerMovie):
    """The first IDR_stream's context; see `context_frames`.

    Attributes
    ----------
    darkfield : bool
        Also estimate the darkfield, the camera's offset without light. Needs many frames.
    """

    name: str = "frames"

    def context(self, wanted: tuple[int, ...], info: MovieInfo) -> tuple[int, ...]:
        """Return the frame and its neighbours, or the whole movie when several are wanted."""
        return context_frames(wanted, info.n_frames, info.valid)


@dataclass(frozen=True, slots=True)
class WholeMovie(_PerMovie):
    """A model for each movie, fitted on its valid frames; see `MOST_FRAMES`.

    Attributes
    ----------
    darkfield : bool
        Also estimate the darkfield, the camera's offset without light.
    """

    name: str = "movie"

    def context(self, wanted: tuple[int, ...], info: MovieInfo) -> tuple[int, ...]:  # noqa: ARG002
        """Return every valid frame, of a long movie `MOST_FRAMES` evenly over its length."""
        return _evenly([number for number, valid in enumerate(info.valid, start=1) if valid])


class PerPlate:
    """A model for each plate, fitted on frames of many of its wells and kept.

    Models are saved as ``<folder>/<plate>.npz`` and reused by later runs. Thread-safe.

    Parameters
    ----------
    folder : Path
        Where the models are kept: a folder beside the results. Created if missing.
    darkfield : bool
        Also estimate the darkfield, the camera's offset without light.
    """

    name = "plate"

    def __init__(self, folder: Path, *, darkfield: bool = False) -> None:
        self.folder = Path(folder)
        self.darkfield = darkfield
        self._models: dict[str, IlluminationModel] = {}
        self._lock = threading.Lock()

    def describe(self) -> dict[str, object]:
        """Return what changes a result; where the models are kept does not."""
        return {"context": self.name, "darkfield": self.darkfield}

    def path(self, plate: str) -> Path:
        """Return the file of a plate's model.

        Raises
        ------
        ConfigError
            If the plate's name cannot be a file name.
        """
        if not re.fullmatch(r"[^/\\\x00.][^/\\\x00]*", plate):
            msg = f"plate {plate!r}: the name cannot be a file name; rename it in the table"
            raise ConfigError(msg)
        refuse_links(self.folder.parent, self.folder.name)
        return self.folder / f"{plate}.npz"

    def missing(self, plate: str) -> bool:
        """Return whether a plate has no model yet.

        Raises
        ------
        ConfigError
            If its file is damaged.
        """
        return self._find(plate) is None

    def fit(
        self, plate: str, stack: NDArray[Any], *, wells: Sequence[str] = ()
    ) -> IlluminationModel:
        """Fit, keep and save the model of a plate.

        Parameters
        ----------
        plate : str
            Plate name.
        stack : NDArray
            Shape ``(N, Y, X)``: frames of many of its wells.
        wells : sequence of str
            Their wells, for the record.

        Returns
        -------
        IlluminationModel
            The model, also in the folder.

        Raises
        ------
        MovieError
            If no model can be fitted on the frames.
        """
        source = f"plate {plate}" + (f" wells {', '.join(wells)}" if wells else "")
        model = fit_basic(stack, darkfield=self.darkfield, context=self.name, source=source)
        model.save(self.path(plate))
        _LOG.info("Illumination of plate %s: %d frames, %s", plate, model.n_frames, model.range)
        with self._lock:
            self._keep(plate, model)
        return model

    def context(self, wanted: tuple[int, ...], info: MovieInfo) -> tuple[int, ...]:  # noqa: ARG002
        """Return no frames: the model of the plate does not depend on the movie."""
        return ()

    def model_for(
        self,
        task: ImageTask,
        stack: Iterable[NDArray[Any]],  # noqa: ARG002
    ) -> IlluminationModel:
        """Return the plate's model.

        Raises
        ------
        ConfigError
            If the plate has none; call `fit` first.
        """
        model = self._find(task.plate)
        if model is None:
            msg = (
                f"plate {task.plate} has no illumination model at {self.path(task.plate)}; "
                "fit one on frames of its wells first"
            )
            raise ConfigError(msg)
        return model

    def _find(self, plate: str) -> IlluminationModel | None:
        with self._lock:
            if plate not in self._models:
                path = self.path(plate)
                if not path.is_file():
                    return None
                self._keep(plate, IlluminationModel.load(path))
                _LOG.info("Illumination of plate %s: taken from %s", plate, path)
            return self._models[plate]

    def _keep(self, plate: str, model: IlluminationModel) -> None:
        """Keep a model in memory instead of that of the plate that came first."""
        self._models[plate] = model
        if len(self._models) > _PLATES_IN_MEMORY:
            del self._models[next(iter(self._models))]
