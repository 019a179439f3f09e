"""Tiles of several images through the network together, in batches that the memory holds."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from cellpose import transforms
from numpy.typing import NDArray

from idrstream.segment.network.image_part import ImagePart, View, part_view
from idrstream.segment.network.network import STYLE_LENGTH, FoldedNetwork
from idrstream.segment.network.scale import scaled_shape
from idrstream.segment.network.tiles import TileBlend, cut_tile, plan_tiles
from idrstream.workers.threads import free_threads, in_threads

_log = logging.getLogger("idrstream.segment")
_CELLPOSE_TILE_PX = 224 * 224
_NO_FLOWS = np.zeros((3, 0, 0), np.float32)
_TILES_A_THREAD = 16  # whose flows are in memory before they are blended


@dataclass(frozen=True, slots=True)
class Flows:
    """What the network says of one image.

    Attributes
    ----------
    values : NDArray of float32
        Shape ``(3, Y, X)`` at the network's scale: flow along y, along x, cell probability.
    style : NDArray of float32
        Shape ``(256,)``, of length 1.
    part : View, optional
        How the pixels of a part of a large image lie between those.
    """

    values: NDArray[np.float32]
    style: NDArray[np.float32]
    part: View | None = None


class TileRunner:
    """Runs images through a network in bounded batches of tiles.

    Parameters
    ----------
    network : FoldedNetwork
        The network.
    batch_size : int
        Tiles of 224 x 224 pixels that go through it together on a GPU. On a processor each tile
        gets a thread of its own: what passes between the layers then stays in its caches, and no
        thread waits for another.
    on_processor : callable, optional
        Returns the network for the processor.

    Notes
    -----
    When the GPU's memory is exhausted the batch is halved, for good, and the stream continues. When
    not even one tile fits, the network continues on the processor; without `on_processor`, or when
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

    def run(
        self, images: Sequence[NDArray[np.float32] | ImagePart], scales: Sequence[float]
    ) -> list[Flows]:
        """Return the flows of each image.

        Parameters
        ----------
        images : sequence of NDArray of float32 or ImagePart
            Each of shape ``(Y, X)``, or ``(2, Y, X)`` for networks that look at two channels;
            normalised, of any size. A part of a larger image is looked at through its `Windows`.
        scales : sequence of float
            By how much each is enlarged for the network; of a part its own holds.

        Returns
        -------
        list of Flows
            Of shape ``(3, int(Y * scale), int(X * scale))`` each, of the pixels that are seen of a
            part, none of one that is empty; the same whatever the other images are. Where a part
            holds whole windows they are to the bit those of any other part that does.
        """
        views = [
            part_view(image) if isinstance(image, ImagePart) else _pad(_scaled(image, scale))
            for image, scale in zip(images, scales, strict=True)
        ]
        blends = [TileBlend(one.plan, 3, one.dark) for one in views]
        styles = [np.zeros(STYLE_LENGTH, np.float32) for _ in views]
        for members in _by_tile_shape(views):
            for (image, tile), (values, style) in zip(
                members, self._tiles(views, members), strict=True
            ):
                blends[image].add(tile, values)
                styles[image] += style
        found = []
        for one, blend, style in zip(views, blends, styles, strict=True):
            values = _NO_FLOWS if one.empty else blend.result()[:, one.inside[0], one.inside[1]]
            part = replace(one, planes=_NO_FLOWS) if one.axes else None  # they are not needed
            found.append(Flows(values, _of_length_one(style), part))
        return found

    def _tiles(
        self, views: Sequence[View], members: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield flows and style of each tile, running as many together as fit."""
        start = 0
        while start < len(members):
            with self._one_batch:
                results = self._next_tiles(views, members[start:])
            yield from results
            start += len(results)

    def _next_tiles(
        self, views: Sequence[View], members: Sequence[tuple[int, int]]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Return flows and style of the first tiles, none when fewer are to be tried next."""
        if not self.pools:
            threads = free_threads()
            part = members[: _TILES_A_THREAD * threads]
            found = in_threads(lambda tile: self._pooled(views, [tile]), part, threads)
            return [result for results in found for result in results]
        height, width = views[members[0][0]].plan.tile
        return self._pooled(views, members[: max(1, self._pixels // (height * width))])

    def _pooled(
        self, views: Sequence[View], part: Sequence[tuple[int, int]]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Return flows and style of tiles in one batch, none when fewer are to be tried next."""
        height, width = views[part[0][0]].plan.tile
        batch = np.zeros((len(part), 2, height, width), np.float32)
        for slot, (image, tile) in zip(batch, part, strict=True):
            of = views[image]
            for channel, plane in enumerate(of.planes):
                slot[channel] = cut_tile(plane, of.plan, tile)
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
                "The GPU's memory does not hold %d tiles; continuing with batches of %d",
                count,
                count // 2,
            )
        elif self._on_processor is not None:
            self._network, self._on_processor, self._pixels = self._on_processor(), None, 0
            _log.warning(
                "The GPU's memory does not hold one tile of Cellpose; continuing on the processor, "
                "which is slow. Does something else use the GPU?"
            )


def _scaled(image: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    if image.ndim == 3:
        return np.stack([_scaled(plane, scale) for plane in image])
    if scale == 1.0:
        return image
    height, width = scaled_shape(image.shape, scale)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def _out_of_memory(error: RuntimeError) -> bool:
    # cuDNN and cuBLAS say it in words only.
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "out of memory" in text
        or "ALLOC_FAILED" in text
    )


def _pad(image: NDArray[np.float32]) -> View:
    planes = image.reshape(-1, *image.shape[-2:])
    height, width = planes.shape[1:]
    top, bottom, left, right = transforms.get_pad_yx(height, width)
    planes = np.pad(planes, ((0, 0), (top, bottom), (left, right)))
    inside = slice(top, top + height), slice(left, left + width)
    return View(planes, inside, plan_tiles((planes.shape[1], planes.shape[2])))


def _of_length_one(style: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(style)
    return style / length if length else style


def _by_tile_shape(views: Sequence[View]) -> list[list[tuple[int, int]]]:
    groups: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for index, image in enumerate(views):
        lit = (tile for tile in range(len(image.plan)) if tile not in image.dark)
        groups[image.plan.tile].extend((index, tile) for tile in lit)
    return list(groups.values())
