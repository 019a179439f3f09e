"""Fit BaSiC on a stack of frames with basicpy, without its output."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.errors import MovieError
from idrstream.packages import require
from idrstream.preprocess.plate_model import IlluminationModel
from idrstream.quiet import without_warnings
from idrstream.workers.threads import threads_limited

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

_LOG = logging.getLogger("idrstream.preprocess")
_LEAST_FLATFIELD = 0.02
_LEAST_UNLIT = 0.001
_EVEN = 0.05
_LEAST_OFFSET = 5.0  # grey levels


def fit_basic(
    stack: Iterable[NDArray[Any]],
    *,
    darkfield: bool = False,
    context: str = "stack",
    source: str = "",
) -> IlluminationModel:
    """Estimate the illumination of a stack of frames with BaSiC.

    Parameters
    ----------
    stack : iterable of NDArray
        Frames with the same illumination, uint8 or uint16, shape ``(Y, X)``: an array ``(N, Y,
        X)``, or one frame after the other, of which only a small copy is kept. Frames without
        any contrast are left out.
    darkfield : bool
        Estimate what the camera adds without light, too.
    context, source : str
        How the frames were chosen and where they are from, for the record and messages.

    Returns
    -------
    IlluminationModel
        The same stack gives the same model, whatever the number of threads; the order of its
        frames makes no difference beyond rounding.

    Raises
    ------
    MovieError
        If no frame has contrast, or BaSiC finds no usable flatfield.
    idrstream.errors.MissingToolError
        If basicpy is not installed.

    Notes
    -----
    Method of Peng et al. 2017, https://doi.org/10.1038/ncomms14836, with basicpy's approximate
    solver. Pixels are sorted along the stack first: the scene moves between frames, or frames
    show different scenes, so that their order says nothing, and the flatfield comes out nearer
    to the truth and to the reference implementation (``docs/illumination.md``).
    """
    where = source or "the stack"
    sample = _Sample()
    for frame in stack:
        sample.add(frame)
    if not sample.n_frames:
        msg = f"cannot fit the illumination of {where}: it has no frames"
        raise MovieError(msg)
    if not sample.small:
        msg = (
            f"cannot fit the illumination of {where}: all {sample.n_frames} frames have the same "
            "grey level everywhere; check the movie, or switch the correction off"
        )
        raise MovieError(msg)
    n_lively = len(sample.small)
    flatfield, dark = _run(sample, where, darkfield=darkfield)
    mean = float(flatfield.mean(dtype=np.float64))
    usable = np.isfinite(flatfield).all() and np.isfinite(dark).all() and mean > 0
    if not usable or float(flatfield.min()) / mean < _LEAST_FLATFIELD:
        level = sample.sum / n_lively
        unlit = float((level < _LEAST_FLATFIELD * level.mean()).mean())
        if unlit > _LEAST_UNLIT:
            msg = (
                f"{unlit:.0%} of the field of {where} get no light in any of {n_lively} frames, "
                "as behind an aperture, and cannot be corrected: crop the movies, or switch the "
                "correction off (perform_illumination_correction = false)"
            )
            raise MovieError(msg)
        msg = (
            f"BaSiC found no usable illumination of {where} in {n_lively} frames (its flatfield "
            "is zero or not a number in places); give it more frames, for example by plate"
        )
        raise MovieError(msg)
    return IlluminationModel(
        flatfield=(flatfield / mean).astype(np.float32),
        darkfield=dark.astype(np.float32),
        n_frames=n_lively,
        context=context,
        source=source,
    )


def require_basic() -> None:
    """Check that basicpy is installed.

    Raises
    ------
    idrstream.errors.MissingToolError
        With the command that installs it.
    """
    require("basicpy", "the illumination correction")


def may_be_offset(model: IlluminationModel, some: NDArray[Any]) -> bool:
    """Return whether a camera's offset may hide the vignetting from a fit without darkfield.

    Where the medium is dark, most of a pixel's level is what the camera adds; that is even, and
    the flatfield comes out even, too. Light that is even looks the same.

    Parameters
    ----------
    model : IlluminationModel
        The fit.
    some : NDArray
        Shape ``(N, Y, X)``: pixels, evenly spread, of the frames that it was fitted on.
    """
    if model.darkfield.any() or not some.size:
        return False
    low, high = np.quantile(model.flatfield, (0.01, 0.99))
    background = float(np.quantile(some, 0.25))
    mostly = background > 0.5 * float(some.mean(dtype=np.float64))
    return bool(high - low < _EVEN and background >= _LEAST_OFFSET and mostly)


class _Sample:
    """Frames that a model is fitted on, in the size in which BaSiC works."""

    def __init__(self) -> None:
        self.n_frames = 0
        self.shape: tuple[int, ...] = ()
        self.small: list[Any] = []  # of those with contrast
        self.sum: Any = 0.0

    def add(self, frame: NDArray[Any]) -> None:
        """Add a frame, unless it has no contrast or no pixels."""
        if frame.ndim != 2 or not frame.size:
            return
        self.n_frames += 1
        if frame.min() == frame.max():
            return
        require_basic()
        with _quiet():
            from basicpy import BaSiC

            with threads_limited(1):
                basic = BaSiC(device="cpu")
                self.small.append(basic._resize_to_working_size(frame[None, None]))
        self.shape = frame.shape
        self.sum = self.sum + frame.astype(np.float64)


def _run(
    sample: _Sample, where: str, *, darkfield: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Run basicpy; return flatfield and darkfield as it gives them."""
    small = sample.small
    if len(small) == 1:  # basicpy takes no single frame; twice the same says no more
        small = small * 2
    require_basic()
    try:
        with _quiet():
            import torch
            from basicpy import BaSiC

            class Prepared(BaSiC):  # type: ignore[misc]  # it has no types
                """BaSiC for frames that were resized one by one, so that none is kept whole."""

                def _resize_to_working_size(self, Im: Any, method: str = "bilinear") -> Any:  # noqa: ARG002, N803
                    return torch.cat(small)

            basic = Prepared(get_darkfield=darkfield, sort_intensity=True, device="cpu")
            with threads_limited(1):  # the last digits of its sums depend on the number
                basic.fit(np.broadcast_to(np.float32(0), (len(small), *sample.shape)))
    except (RuntimeError, ValueError, IndexError, ArithmeticError) as error:
        msg = f"BaSiC failed on {where} ({len(small)} frames): {error}"
        raise MovieError(msg) from error
    if not basic._converge_flag:
        _LOG.warning("BaSiC stopped before it converged on %s; its result is used", where)
    if not darkfield:
        return basic.flatfield, np.zeros_like(basic.flatfield)
    return basic.flatfield, basic.darkfield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress basicpy's warnings and log lines."""
    theirs, mine = logging.getLogger("basicpy.basicpy"), threading.get_ident()

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != mine

    theirs.addFilter(of_others)
    try:
        with without_warnings():
            yield
    finally:
        theirs.removeFilter(of_others)
