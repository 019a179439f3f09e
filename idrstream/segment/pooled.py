"""Flows of several images at once: their tiles go through the network together."""

from __future__ import annotations

import copy
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from cellpose import transforms
from cellpose.models import CellposeModel
from numpy.typing import NDArray

from idrstream.segment.dynamics import masks_from_flows
from idrstream.segment.groups import limit_threads, torch_threads
from idrstream.segment.intensity import USUAL_PERCENTILES
from idrstream.segment.network import STYLE_LENGTH, FoldedNetwork
from idrstream.segment.tiles import TileBlend, TilePlan, cut_tile, plan_tiles

_log = logging.getLogger("idrstream.segment")
_CELLPOSE_TILE_PX = 224 * 224


@dataclass(frozen=True, slots=True)
class Flows:
    """What the network says of one image.

    Attributes
    ----------
    values : NDArray of float32
        Shape ``(3, Y, X)`` at the network's scale: flow along y, along x, cell probability.
    style : NDArray of float32
        Shape ``(256,)``, of length 1.
    """

    values: NDArray[np.float32]
    style: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Padded:
    pixels: NDArray[np.float32]
    inside: tuple[slice, slice]
    plan: TilePlan


class TileRunner:
    """Runs images through a network in bounded batches of tiles.

    Parameters
    ----------
    network : FoldedNetwork
        The network.
    batch_size : int
        Tiles of 224 x 224 pixels that go through it together on a GPU. On a processor tiles go one
        by one, which is faster: what passes between the layers then stays in its caches.
    on_processor : callable, optional
        Returns the network for the processor.

    Notes
    -----
    When the GPU's memory is exhausted the batch is halved, for good, and the stream goes on. When
    not even one tile fits the network goes on on the processor; without `on_processor`, or when
    the processor has no memory left either, the error is raised.
    """

    def __init__(
        self,
        network: FoldedNetwork,
        batch_size: int,
        on_processor: Callable[[], FoldedNetwork] | None = None,
    ) -> None:
        self._network = network
        self._on_processor = on_processor
        gpu = network.device.type != "cpu"
        self._pixels = batch_size * _CELLPOSE_TILE_PX if gpu else 0
        # The batch size is what its memory holds of one batch, not of one for each thread.
        self._one_batch: AbstractContextManager[Any] = threading.Lock() if gpu else nullcontext()

    @property
    def pools(self) -> bool:
        """Whether several tiles go through the network together."""
        return self._pixels > 0

    def run(self, images: Sequence[NDArray[np.float32]], scales: Sequence[float]) -> list[Flows]:
        """Return the flows of each image.

        Parameters
        ----------
        images : sequence of NDArray of float32
            Each of shape ``(Y, X)``, normalised, of any size.
        scales : sequence of float
            By how much each is enlarged for the network.

        Returns
        -------
        list of Flows
            Of shape ``(3, int(Y * scale), int(X * scale))`` each; the same whatever the other
            images are.
        """
        padded = [_pad(_scaled(image, scale)) for image, scale in zip(images, scales, strict=True)]
        blends = [TileBlend(p.plan, 3) for p in padded]
        styles = [np.zeros(STYLE_LENGTH, np.float32) for _ in padded]
        for members in _by_tile_shape(padded):
            for (image, tile), (values, style) in zip(
                members, self._tiles(padded, members), strict=True
            ):
                blends[image].add(tile, values)
                styles[image] += style
        return [
            Flows(blend.result()[:, p.inside[0], p.inside[1]], style / np.linalg.norm(style))
            for blend, p, style in zip(blends, padded, styles, strict=True)
        ]

    def _tiles(
        self, padded: Sequence[_Padded], members: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield flows and style of each tile, running as many together as fit."""
        start = 0
        while start < len(members):
            with self._one_batch:
                results = self._next_tiles(padded, members[start:])
            yield from results
            start += len(results)

    def _next_tiles(
        self, padded: Sequence[_Padded], members: Sequence[tuple[int, int]]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Return flows and style of the first tiles, none when fewer are to be tried next."""
        height, width = padded[members[0][0]].plan.tile
        part = members[: max(1, self._pixels // (height * width))]
        batch = np.zeros((len(part), 2, height, width), np.float32)
        for slot, (image, tile) in zip(batch, part, strict=True):
            slot[0] = cut_tile(padded[image].pixels, padded[image].plan, tile)
        results = self._try(batch)
        if results is None:
            self._make_smaller(len(part), height * width)
        return results or []

    def _try(
        self, batch: NDArray[np.float32]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]] | None:
        """Return flows and style of each tile, or None when the GPU's memory does not hold them."""
        network = self._network
        try:
            flows, styles = network(torch.from_numpy(batch))
            return list(zip(flows.cpu().numpy(), styles.cpu().numpy(), strict=True))
        except RuntimeError as error:
            if not _out_of_memory(error) or (len(batch) == 1 and self._on_processor is None):
                raise
            return None

    def _make_smaller(self, count: int, tile_pixels: int) -> None:
        # Outside the except block: an error keeps the tensors alive that it was raised among.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if count > 1:
            self._pixels = (count // 2) * tile_pixels
            _log.warning(
                "The GPU's memory does not hold %d tiles of Cellpose; going on with batches of %d",
                count,
                count // 2,
            )
        elif self._on_processor is not None:
            self._network, self._on_processor, self._pixels = self._on_processor(), None, 0
            _log.warning(
                "The GPU's memory does not hold one tile of Cellpose; going on on the processor, "
                "which is slow. Does something else use the GPU?"
            )


class PooledModel(CellposeModel):  # type: ignore[misc]
    """Cellpose's model with our way of running its network; all else of ``eval`` is Cellpose's.

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
        # of a group gets, see `side_by_side`. Else some are laid out anew at every call.
        threads = torch_threads()
        limit_threads(1)
        try:
            network = FoldedNetwork(self.net, precision)
        finally:
            limit_threads(threads)
        self._runner = TileRunner(network, batch_size, on_processor if gpu else None)
        self._last = threading.local()

    @property
    def pools(self) -> bool:
        """Whether tiles of several frames are worth going through the network together."""
        return self._runner is not None and self._runner.pools

    def percentiles(self, pixels: NDArray[Any]) -> tuple[float, float] | None:
        """Return the percentiles of a frame's pixels that become 0 and 1 for the network.

        None when there is nothing to see, so that the frame is black for it.
        """
        del pixels
        return USUAL_PERCENTILES

    def normalised(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return a frame of shape ``(Y, X)`` as ``eval`` scales it for the network."""
        percentiles = self.percentiles(pixels)
        if percentiles is None:
            return np.zeros(pixels.shape, np.float32)
        stack = pixels.astype(np.float32)[np.newaxis, :, :, np.newaxis]
        scaled = transforms.normalize_img(stack, percentile=list(percentiles))
        image: NDArray[np.float32] = np.ascontiguousarray(scaled[0, :, :, 0])
        return image

    def pooled_flows(
        self, images: Sequence[NDArray[np.float32]], diameters_px: Sequence[float]
    ) -> list[Flows]:
        """Return the flows of several frames, from `normalised`, with one pool of tiles."""
        if self._runner is None:
            raise RuntimeError("prepare() was not called")
        return self._runner.run(images, [self.diam_mean / d for d in diameters_px])

    def masks_of(
        self, flows: Flows, shape: tuple[int, int], diameter_px: float, **options: Any
    ) -> NDArray[Any]:
        """Return the masks ``(Y, X)`` of a frame as ``eval`` makes them of its flows."""
        values = _resized(flows.values, shape)
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

        ``x`` has the shape ``(1, Y, X, 2)``, is normalised, and its second channel is empty.
        """
        runner = self._runner
        if runner is None or len(x) != 1 or options.get("do_3D") or options.get("augment"):
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


def _scaled(image: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    if scale == 1.0:
        return image
    height, width = (int(side * scale) for side in image.shape)
    if not (height and width):
        raise ValueError(f"an image of {image.shape} pixels is too small for its nuclei")
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def _resized(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return values of shape ``(3, y, x)`` interpolated to ``(3, Y, X)``."""
    if values.shape[1:] == tuple(shape):
        return values
    height, width = shape
    resized = cv2.resize(values.transpose(1, 2, 0), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(resized.transpose(2, 0, 1))


def _out_of_memory(error: RuntimeError) -> bool:
    # cuDNN and cuBLAS say it in words only.
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "out of memory" in text
        or "ALLOC_FAILED" in text
    )


def _pad(image: NDArray[np.float32]) -> _Padded:
    height, width = image.shape
    top, bottom, left, right = transforms.get_pad_yx(height, width)
    pixels = np.pad(image, ((top, bottom), (left, right)))
    inside = slice(top, top + height), slice(left, left + width)
    return _Padded(pixels, inside, plan_tiles((pixels.shape[0], pixels.shape[1])))


def _by_tile_shape(padded: Sequence[_Padded]) -> list[list[tuple[int, int]]]:
    groups: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for index, image in enumerate(padded):
        groups[image.plan.tile].extend((index, tile) for tile in range(len(image.plan)))
    return list(groups.values())
