"""Fit BaSiC on a stack of frames with basicpy, without its output."""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.errors import MovieError
from idrstream.packages import require
from idrstream.preprocess.plate_model import IlluminationModel
from idrstream.workers.threads import threads_limited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_LOG = logging.getLogger("idrstream.preprocess")
_LEAST_FLATFIELD = 0.02
_LEAST_UNLIT = 0.001
_EVEN = 0.05
_LEAST_OFFSET = 5.0  # grey levels


def fit_basic(
    stack: NDArray[Any], *, darkfield: bool = False, context: str = "stack", source: str = ""
) -> IlluminationModel:
    """Estimate the illumination of a stack of frames with BaSiC.

    Parameters
    ----------
    stack : NDArray
        Shape ``(N, Y, X)``, uint8 or uint16: frames with the same illumination. Frames without
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
    if stack.ndim != 3 or 0 in stack.shape:
        msg = f"cannot fit the illumination of {where}: no frames in shape {stack.shape}"
        raise MovieError(msg)
    lively = [frame for frame in stack if frame.min() < frame.max()]
    if not lively:
        msg = (
            f"cannot fit the illumination of {where}: all {len(stack)} frames have the same grey "
            "level everywhere; check the movie, or switch the correction off"
        )
        raise MovieError(msg)
    flatfield, dark = _run(np.stack(lively), where, darkfield=darkfield)
    mean = float(flatfield.mean(dtype=np.float64))
    usable = np.isfinite(flatfield).all() and np.isfinite(dark).all() and mean > 0
    if not usable or float(flatfield.min()) / mean < _LEAST_FLATFIELD:
        level = np.mean(lively, axis=0)
        unlit = float((level < _LEAST_FLATFIELD * level.mean()).mean())
        if unlit > _LEAST_UNLIT:
            msg = (
                f"{unlit:.0%} of the field of {where} get no light in any of {len(lively)} frames, "
                "as behind an aperture, and cannot be corrected: crop the movies, or switch the "
                "correction off (perform_illumination_correction = false)"
            )
            raise MovieError(msg)
        msg = (
            f"BaSiC found no usable illumination of {where} in {len(lively)} frames (its flatfield "
            "is zero or not a number in places); give it more frames, for example by plate"
        )
        raise MovieError(msg)
    return IlluminationModel(
        flatfield=(flatfield / mean).astype(np.float32),
        darkfield=dark.astype(np.float32),
        n_frames=len(lively),
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


def may_be_offset(model: IlluminationModel, stack: NDArray[Any]) -> bool:
    """Return whether a camera's offset may hide the vignetting from a fit without darkfield.

    Where the medium is dark, most of a pixel's level is what the camera adds; that is even, and
    the flatfield comes out even, too. Light that is even looks the same.

    Parameters
    ----------
    model : IlluminationModel
        The fit.
    stack : NDArray
        Shape ``(N, Y, X)``: the frames that it was fitted on.
    """
    if model.darkfield.any() or not stack.size:
        return False
    low, high = np.quantile(model.flatfield, (0.01, 0.99))
    some = stack[:, ::4, ::4]
    background = float(np.quantile(some, 0.25))
    mostly = background > 0.5 * float(some.mean(dtype=np.float64))
    return bool(high - low < _EVEN and background >= _LEAST_OFFSET and mostly)


def _run(
    stack: NDArray[Any], where: str, *, darkfield: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Run basicpy; return flatfield and darkfield as it gives them."""
    if len(stack) == 1:  # basicpy takes no single frame; twice the same says no more
        stack = np.concatenate([stack, stack])
    require_basic()
    try:
        with _quiet():
            from basicpy import BaSiC

            basic = BaSiC(get_darkfield=darkfield, sort_intensity=True, device="cpu")
            with threads_limited(1):  # the last digits of its sums depend on the number
                basic.fit(stack)
    except (RuntimeError, ValueError, IndexError, ArithmeticError) as error:
        msg = f"BaSiC failed on {where} ({len(stack)} frames): {error}"
        raise MovieError(msg) from error
    if not basic._converge_flag:
        _LOG.warning("BaSiC stopped before it converged on %s; its result is used", where)
    if not darkfield:
        return basic.flatfield, np.zeros_like(basic.flatfield)
    return basic.flatfield, basic.darkfield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress basicpy's warnings and log lines."""
    theirs = logging.getLogger("basicpy")
    level = theirs.level
    theirs.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.setLevel(level)
