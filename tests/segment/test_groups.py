"""Several frames at once: the same nuclei as one by one, and only bad frames fail."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from objects_at import objects_at

from idrstream.errors import MissingToolError, SegmentationError
from idrstream.records import Frame, ImageTask
from idrstream.segment import CellPoseSegmentor
from idrstream.segment.cellpose.groups import Prepared, Stages
from idrstream.workers.threads import one_thread_each, torch_threads

pytestmark = pytest.mark.models


def task(number):
    return ImageTask("LT0001_02", f"A{number}", number, (50,))


@pytest.fixture(scope="module")
def frames():
    """Return frames of several sizes with nuclei of several sizes, and one that is none."""
    from idrstream.simulate import ScreenSpec, simulate_movie

    made = []
    for number, (height, width, diameter) in enumerate([(150, 180, 16), (330, 200, 22)], 1):
        spec = ScreenSpec(
            frames=1, height=height, width=width, nuclei_per_frame=9, diameter_px=diameter, seed=3
        )
        made.append(Frame(simulate_movie(spec, well="A15").frames[:1], 50, task(number)))
    made.insert(1, Frame(np.array([[[0.0, np.nan]]]), 50, task(9)))
    return made


@pytest.fixture
def segmentor():
    segmentor = CellPoseSegmentor(
        {"model_type": "idrstream-nuclei", "gpu": False, "threads": 1, "diameter": 18}
    )
    segmentor.load()
    return segmentor


def same(one, other, tolerance):
    assert one.diameter_px == pytest.approx(other.diameter_px, rel=tolerance)
    assert len(one) == len(other) > 3
    np.testing.assert_allclose(one.locations, other.locations, atol=tolerance * 10)
    return True


@pytest.mark.parametrize("pooled", [False, True])
def test_the_same_nuclei_as_one_by_one(segmentor, frames, pooled):
    single = [segmentor.segment(frame, outlines=True) for frame in frames[::2]]
    segmentor.settings = replace(segmentor.settings, threads=2)
    if pooled:  # as on a GPU
        segmentor._model.get().model._runner._pixels = 6 * 224**2
    first, bad, last = segmentor.segment_many(frames, outlines=True)
    assert isinstance(bad, SegmentationError)
    assert "plate LT0001_02 well A9 frame 50: the frame has pixels that are not" in str(bad)
    for found, expected in zip((first, last), single, strict=True):
        assert same(found, expected, 0.02 if pooled else 0)
        assert len(found.outlines) == len(found)


def test_nothing_and_only_bad_frames(segmentor, frames):
    segmentor._model.get().model._runner._pixels = 6 * 224**2
    assert segmentor.segment_many([]) == []
    (bad,) = segmentor.segment_many(frames[1:2])
    assert isinstance(bad, SegmentationError)


class Network:
    """A network that has memory for a number of tiles only; gives what it is given."""

    def __init__(self, fit, device="cuda", error=None):
        import torch

        self.fit, self.device, self.asked = fit, torch.device(device), []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    def __call__(self, tiles):
        import torch

        self.asked.append(len(tiles))
        if len(tiles) > self.fit:
            raise self.error
        planes = tiles[:, :1]
        return torch.cat([planes, -planes, 2 * planes], 1), torch.ones(len(tiles), 256)


@pytest.fixture(scope="module")
def images():
    draw = np.random.default_rng(0).normal
    return [draw(size=shape).astype(np.float32) for shape in ((700, 600), (650, 590), (40, 50))]


def check_flows(flows, images):
    for one, image in zip(flows, images, strict=True):
        np.testing.assert_allclose(one.values, np.stack([image, -image, 2 * image]), atol=1e-5)
        assert np.linalg.norm(one.style) == pytest.approx(1)


def test_tiles_of_several_frames_go_through_together(images):
    from idrstream.segment.network.tile_runner import TileRunner

    network = Network(fit=100)
    check_flows(TileRunner(network, batch_size=8).run(images, [1.0] * 3), images)
    assert len(network.asked) < len(images) + 4  # many at once, not one after the other
    assert max(network.asked) > 3


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_on_a_processor_each_tile_gets_a_thread_and_the_sums_their_order(images, threads):
    from idrstream.segment.network.tile_runner import TileRunner

    seen = []

    class Slow(Network):
        def __call__(self, tiles):
            seen.append((threading.get_ident(), torch_threads(), len(tiles)))
            time.sleep(0.01)
            return super().__call__(tiles)

    runner = TileRunner(Slow(fit=1, device="cpu"), batch_size=8)
    with one_thread_each(threads):
        (flows,) = runner.run(images[:1], [1.0])
    check_flows([flows], images[:1])
    assert {one[1:] for one in seen} == {(1, 1)}
    assert len({one[0] for one in seen}) == threads
    with one_thread_each(1):
        (alone,) = runner.run(images[:1], [1.0])
    assert flows.values.tobytes() == alone.values.tobytes()
    assert flows.style.tobytes() == alone.style.tobytes()


def test_the_same_bytes_for_any_number_of_threads(segmentor, frames):
    found = []
    for threads in (1, 2, 4):
        segmentor.settings = replace(segmentor.settings, threads=threads, diameter=0.0)
        found.append(segmentor.segment(frames[-1], outlines=True))
        found += segmentor.segment_many(frames[-1:], outlines=True)
        found += segmentor.segment_many([frames[0], frames[-1]], outlines=True)[1:]
    assert len({one.locations.tobytes() for one in found}) == 1
    assert len({one.diameter_px for one in found}) == 1
    assert len(found[0]) > 3


def test_a_frame_that_would_become_far_too_large_is_refused(images):
    from idrstream.segment.network.tile_runner import TileRunner

    runner = TileRunner(Network(fit=1, device="cpu"), batch_size=8)
    with pytest.raises(SegmentationError, match=r"40 x 50 .* 52\.0 times .* at most 10\.0 "):
        runner.run([images[2]], [52.0])


@pytest.mark.parametrize("words", ["CUDA out of memory", "CUDNN_STATUS_ALLOC_FAILED"])
def test_out_of_memory_halves_the_batch_for_good(images, words, caplog):
    from idrstream.segment.network.tile_runner import TileRunner

    network = Network(fit=2, error=RuntimeError(words))
    runner = TileRunner(network, batch_size=16)
    with caplog.at_level(logging.WARNING, "idrstream"):
        check_flows(runner.run(images, [1.0] * 3), images)
    assert "continuing with batches of" in caplog.text
    network.asked.clear()
    check_flows(runner.run(images, [1.0] * 3), images)
    assert max(network.asked) <= 2


def test_a_gpu_without_memory_for_one_tile_leaves_it_to_the_processor(images, caplog):
    from idrstream.segment.network.tile_runner import TileRunner

    gpu, processor = Network(fit=0), Network(fit=1, device="cpu")
    runner = TileRunner(gpu, 4, lambda: processor)
    with caplog.at_level(logging.WARNING, "idrstream"):
        check_flows(runner.run(images, [1.0] * 3), images)
    assert "continuing on the processor" in caplog.text
    assert not runner.pools
    asked = len(gpu.asked)
    check_flows(runner.run(images[:1], [1.0]), images[:1])
    assert len(gpu.asked) == asked


def test_groups_of_several_threads_share_the_memory_of_a_gpu(images):
    from idrstream.segment.network.tile_runner import TileRunner

    running = threading.Lock()

    class OneBatch(Network):
        def __call__(self, tiles):
            assert running.acquire(blocking=False), "two batches on the GPU at once"
            try:
                time.sleep(0.001)
                return super().__call__(tiles)
            finally:
                running.release()

    network = OneBatch(fit=3)
    runner = TileRunner(network, batch_size=16)
    with ThreadPoolExecutor(4) as pool:
        for flows in pool.map(lambda _: runner.run(images, [1.0] * 3), range(8)):
            check_flows(flows, images)
    assert [count for count in network.asked if count > 3] == [9, 4]  # each halved once


def test_without_any_memory_the_frame_fails_not_the_stream(segmentor, frames):
    from idrstream.segment.network.tile_runner import TileRunner

    model = segmentor._model.get().model
    model._runner = TileRunner(Network(fit=0), 4, lambda: Network(fit=0, device="cpu"))
    found = segmentor.segment_many([frames[0], frames[2]])
    assert all(isinstance(error, SegmentationError) for error in found)
    assert "A1 frame 50: Cellpose failed: OutOfMemoryError" in str(found[0])


def test_one_frame_that_breaks_the_network_does_not_take_the_others_along():
    def run_network(group):
        if any(one.diameter_px == 13 for one in group):
            raise SegmentationError("Cellpose failed: unlucky")
        return [one.diameter_px for one in group]

    def prepare(frame):
        return Prepared(frame, frame.plane(), float(frame.number))

    def finish(prepared, flows):
        assert flows == prepared.diameter_px
        return objects_at([], prepared.frame.shape), prepared.frame.number

    frames = [Frame(np.zeros((1, 3, 3)), number, task(number)) for number in (12, 13, 14)]
    first, bad, last = Stages(prepare, run_network, finish).run(frames, threads=2)
    assert (first[1], last[1]) == (12, 14)
    assert str(bad) == "plate LT0001_02 well A13 frame 13: Cellpose failed: unlucky"


def test_what_the_user_has_to_mend_is_no_frames_error():
    def prepare(frame):
        raise MissingToolError("no model")

    frames = [Frame(np.zeros((1, 3, 3)), number, task(number)) for number in (1, 2)]
    with pytest.raises(MissingToolError):
        Stages(prepare, list, lambda one, flows: None).run(frames, threads=2)


@pytest.mark.models
def test_where_there_is_nothing_the_network_does_not_run():
    from idrstream.segment.network.image_part import ImagePart
    from idrstream.segment.network.tile_runner import TileRunner

    class Counting(Network):
        tiles = 0

        def __call__(self, tiles):
            self.tiles += len(tiles)
            return super().__call__(tiles)

    image = np.zeros((900, 300), np.float32)
    image[20:60, 20:60] = 1
    network = Counting(fit=9, device="cpu")
    runner = TileRunner(network, batch_size=8)
    whole = ImagePart(image, (0, 0), image.shape, 1.0)
    (all_seen,) = runner.run([whole], [1.0])
    n_all, network.tiles = network.tiles, 0
    (found,) = runner.run([replace(whole, bright=image > 0)], [1.0])
    assert (n_all, network.tiles) == (8, 1)
    assert np.array_equal(found.values[:, :120, :120], all_seen.values[:, :120, :120])
    assert (found.values[2, 300:] < -10).all()
    (nothing,) = runner.run([replace(whole, bright=image > 1)], [1.0])
    assert not nothing.values.size
    assert not nothing.style.any()
    assert nothing.part.empty


@pytest.mark.models
def test_a_network_of_two_channels_sees_both():
    import torch

    from idrstream.segment.network.tile_runner import TileRunner

    class Sum(Network):
        def __call__(self, tiles):
            both = tiles.sum(1, keepdim=True)
            return torch.cat([both, both, both], 1), torch.ones(len(tiles), 256)

    planes = np.random.default_rng(0).random((2, 400, 330), np.float32)
    (found,) = TileRunner(Sum(fit=9, device="cpu"), batch_size=8).run([planes], [1.0])
    np.testing.assert_allclose(found.values[0], planes.sum(0), atol=1e-5)
