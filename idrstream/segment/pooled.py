"""Flows of several images at once: their tiles go through the network together."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from cellpose import transforms
from cellpose.models import CellposeModel
from numpy.typing import NDArray

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

    Notes
    -----
    When the GPU's memory is exhausted the batch is halved, for good, and the stream goes on; when
    not even one tile fits, `torch.OutOfMemoryError` is raised.
    """

    def __init__(self, network: FoldedNetwork, batch_size: int) -> None:
        self._network = network
        self._pixels = batch_size * _CELLPOSE_TILE_PX if network.device.type != "cpu" else 0

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
            height, width = padded[members[0][0]].plan.tile
            count = max(1, self._pixels // (height * width))
            part = members[start : start + count]
            batch = np.zeros((len(part), 2, height, width), np.float32)
            for slot, (image, tile) in zip(batch, part, strict=True):
                slot[0] = cut_tile(padded[image].pixels, padded[image].plan, tile)
            try:
                flows, styles = self._network(torch.from_numpy(batch))
                results = list(zip(flows.cpu().numpy(), styles.cpu().numpy(), strict=True))
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                self._halve(len(part), height * width)
                continue
            yield from results
            start += len(part)

    def _halve(self, count: int, tile_pixels: int) -> None:
        self._pixels = (count // 2) * tile_pixels
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        _log.warning(
            "The GPU's memory does not hold %d tiles; going on with batches of %d",
            count,
            count // 2,
        )


class PooledModel(CellposeModel):  # type: ignore[misc]
    """Cellpose's model with our way of running its network; all else of ``eval`` is Cellpose's.

    `prepare` must be called once the weights are there; until then the network runs as Cellpose
    runs it.
    """

    _runner: TileRunner | None = None

    def prepare(self, batch_size: int, precision: torch.dtype = torch.float32) -> None:
        """Fold the network for inference as it now is, see `FoldedNetwork` and `TileRunner`."""
        self._runner = TileRunner(FoldedNetwork(self.net, precision), batch_size)
        self._last = threading.local()

    def _run_net(self, x: Any, rescale: float = 1.0, resample: bool = True, **options: Any) -> Any:
        """Return flows ``(2, 1, Y, X)``, cell probability ``(1, Y, X)`` and style of one image.

        ``x`` has the shape ``(1, Y, X, 2)``, is normalised, and its second channel is empty.
        """
        runner = self._runner
        if runner is None or len(x) != 1 or options.get("do_3D") or options.get("augment"):
            return super()._run_net(x, rescale=rescale, resample=resample, **options)
        found = self._flows(runner, np.ascontiguousarray(x[0, :, :, 0]), float(rescale))
        values = found.values.transpose(1, 2, 0)
        if resample and values.shape[:2] != x.shape[1:3]:
            values = transforms.resize_image(values, x.shape[1], x.shape[2])
        values = np.ascontiguousarray(values.transpose(2, 0, 1))
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
