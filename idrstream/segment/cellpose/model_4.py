"""Cellpose 4's models, which run as Cellpose runs them: one frame at a time.

Imports Cellpose 4: import this module only where it is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellpose.models import CellposeModel

from idrstream.errors import ConfigError
from idrstream.quiet import without_warnings

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


class CellposeFour:
    """A model of Cellpose 4 with what a segmentor asks for.

    Parameters
    ----------
    path : Path
        The weights.
    device : torch.device
        Where it computes.
    bfloat16 : bool
        Whether it computes with 16 bits.
    """

    pools = False
    """Whether tiles of several frames go through the network together."""
    diam_mean = 30.0
    """Diameter in pixels at which frames are left at their scale."""

    def __init__(self, path: Path, device: torch.device, *, bfloat16: bool) -> None:
        self.device = device
        self._model = CellposeModel(
            device=device, pretrained_model=str(path), use_bfloat16=bfloat16
        )

    def eval(self, pixels: NDArray[Any], *, channels: Any, diameter: float, **options: Any) -> Any:
        """Return what Cellpose's ``eval`` does; it takes channels in any order."""
        del channels
        axis = 2 if pixels.ndim == 3 else None
        with without_warnings():
            return self._model.eval(pixels, diameter=diameter, channel_axis=axis, **options)

    def percentiles(self, pixels: NDArray[Any]) -> None:
        """Refuse images in tiles, whose network is run in another way.

        Raises
        ------
        idrstream.errors.ConfigError
            Always.
        """
        del pixels
        raise ConfigError("images in tiles cannot be segmented with Cellpose 4 yet: use Cellpose 3")
