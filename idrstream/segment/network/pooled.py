"""Cellpose's model, its network run on tiles of several frames."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from cellpose import transforms
from cellpose.models import CellposeModel
from numpy.typing import NDArray

from idrstream.segment.network.dynamics import masks_from_flows
from idrstream.segment.network.image_part import ImagePart
from idrstream.segment.network.intensity import USUAL_PERCENTILES
from idrstream.segment.network.network import FoldedNetwork
from idrstream.segment.network.tile_runner import Flows, TileRunner
from idrstream.workers.threads import threads_limited


class PooledModel(CellposeModel):  # type: ignore[misc]
    """Cellpose's model with its network run by `TileRunner`; the rest of ``eval`` is Cellpose's.

    `prepare` must be called once the weights are there; until then the network runs as Cellpose
    runs it.
    """

    _runner: TileRunner | None = None

    def prepare(self, batch_size: int, precision: torch.dtype = torch.float32) -> None:
        """Fold the network for inference as it now is, see `FoldedNetwork` and `TileRunner`."""

        def on_processor() -> FoldedNetwork:
            return FoldedNetwork(copy.deepcopy(self.net).to("cpu"))

        gpu = self.net.device.type != "cpu"
        # oneDNN lays weights out for as many threads as it has now: for the one that each frame
        # of a group gets, see `side_by_side`. Else some are laid out again at every call.
        with threads_limited(1):
            network = FoldedNetwork(self.net, precision)
        self._runner = TileRunner(network, batch_size, on_processor if gpu else None)
        self._last = threading.local()

    @property
    def pools(self) -> bool:
        """Whether tiles of several frames are worth going through the network together."""
        return self._runner is not None and self._runner.pools

    def percentiles(self, pixels: NDArray[Any]) -> tuple[float, float] | None:
        """Return the percentiles of a frame's pixels that become 0 and 1 for the network.

        None for a frame without nuclei, which is then black for the network.
        """
        del pixels
        return USUAL_PERCENTILES

    def recorded(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return a frame in which pixels that were never recorded do not stand out."""
        return pixels

    def normalised(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return a frame of shape ``(Y, X)`` as ``eval`` scales it for the network."""
        percentiles = self.percentiles(pixels)
        if percentiles is None:
            return np.zeros(pixels.shape, np.float32)
        stack = self.recorded(pixels).astype(np.float32)[np.newaxis, :, :, np.newaxis]
        scaled = transforms.normalize_img(stack, percentile=list(percentiles))
        image: NDArray[np.float32] = np.ascontiguousarray(scaled[0, :, :, 0])
        return image

    def pooled_flows(
        self, images: Sequence[NDArray[np.float32] | ImagePart], diameters_px: Sequence[float]
    ) -> list[Flows]:
        """Return the flows of several frames, from `normalised`, with one pool of tiles.

        See `TileRunner.run`. Parts of large images have a scale of their own.
        """
        if self._runner is None:
            raise RuntimeError("prepare() was not called")
        scales = [self.diam_mean / diameter_px for diameter_px in diameters_px]
        return self._runner.run(images, scales)

    def masks_of(
        self, flows: Flows, shape: tuple[int, int], diameter_px: float, **options: Any
    ) -> NDArray[Any]:
        """Return the masks ``(Y, X)`` of a frame as ``eval`` makes them of its flows."""
        part = flows.part
        if part and part.empty:
            return np.zeros(shape, np.int32)
        values = part.back(flows.values) if part else _resized(flows.values, shape)
        steps = int(200 / (self.diam_mean / diameter_px))
        return masks_from_flows(values, steps=steps, **options)

    def _compute_masks(
        self, shape: Any, flows: Any, cellprob: Any, *, interp: bool = True, **options: Any
    ) -> Any:
        """Return what Cellpose's method of this name does, sooner, for one frame."""
        resized = cellprob.shape[1:] != tuple(shape[1:3])
        ours = self._runner is not None and shape[0] == 1 and interp and not resized
        if not ours or options.get("do_3D"):
            return super()._compute_masks(shape, flows, cellprob, interp=interp, **options)
        for name in ("stitch_threshold", "do_3D"):
            options.pop(name, None)
        values = np.concatenate([flows[:, 0], cellprob])
        return masks_from_flows(values, steps=int(options.pop("niter")), **options)

    def _run_net(self, x: Any, rescale: float = 1.0, resample: bool = True, **options: Any) -> Any:
        """Return flows ``(2, 1, Y, X)``, cell probability ``(1, Y, X)`` and style of one image.

        ``x`` has the shape ``(1, Y, X, 2)`` and is normalised; when its second channel is not
        empty, the network runs as Cellpose runs it.
        """
        runner = self._runner
        ours = runner is not None and len(x) == 1 and not x[..., 1].any()
        if runner is None or not ours or options.get("do_3D") or options.get("augment"):
            return super()._run_net(x, rescale=rescale, resample=resample, **options)
        found = self._flows(runner, np.ascontiguousarray(x[0, :, :, 0]), float(rescale))
        values = _resized(found.values, x.shape[1:3]) if resample else found.values
        return values[:2, np.newaxis], values[2:], found.style

    def _flows(self, runner: TileRunner, image: NDArray[np.float32], scale: float) -> Flows:
        """Return the flows, those of the last call when the image and the scale are the same.

        So the estimate of the diameter, when it is right at once, costs nothing more.
        """
        last = getattr(self._last, "call", None)
        if last is not None and last[1] == scale and np.array_equal(last[0], image):
            flows: Flows = last[2]
            return flows
        (flows,) = runner.run([image], [scale])
        self._last.call = (image, scale, flows)
        return flows


def _resized(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return values of shape ``(3, y, x)`` interpolated to ``(3, Y, X)``."""
    if values.shape[1:] == tuple(shape):
        return values
    height, width = shape
    resized = cv2.resize(values.transpose(1, 2, 0), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(resized.transpose(2, 0, 1))
