"""The estimate of a stream's time: what limits it, and that its interval holds the truth."""

import heapq
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idrstream.config import RunOptions
from idrstream.forecast.probe import Probe
from idrstream.forecast.work import Costs, ImageCost, spread, work_time
from idrstream.schedule.options import LaneSizes, choose_sizes

SIZES = LaneSizes(
    batches_in_flight=3, downloads_at_once=4, prefetch=8, preprocess_workers=2, cores=2,
    frames_at_once=2,
)  # fmt: skip
ON_GPU = choose_sizes(RunOptions(frames_at_once=2), cores=16, gpu=True)
SECONDS = st.floats(0.01, 10)


def estimate(images, *, batches=6, size=5, sizes=SIZES, wells=(), **costs):
    return work_time([size] * batches, Costs(images=tuple(images), **costs), sizes, wells)


def test_one_image_takes_all_its_stages():
    cost = ImageCost(1.0, 2.0, 4.0)
    found = estimate([cost], batches=1, size=1, profile_s=8.0, compile_s=32.0)
    assert found.seconds == pytest.approx(1 + 2 + 4 + 8 + 32)


@pytest.mark.parametrize(
    ("cost", "limit_s"),
    [
        (ImageCost(8.0, 0.1, 0.1), 30 * 8.0 / 4),  # four downloads at once
        (ImageCost(0.1, 4.0, 0.1), 30 * 4.0 / 2),  # two are read at once, on two cores
        (ImageCost(0.1, 0.1, 4.0), 30 * 4.0),  # one segmentation at a time
        (ImageCost(3.0, 1.5, 2.0), 30 * (2.0 + 1.5 / 2)),  # reading and network share the cores
    ],
)
def test_the_busiest_stage_sets_the_time_not_the_sum(cost, limit_s):
    found = estimate([cost])
    assert limit_s * 0.99 <= found.low_s <= found.seconds <= 1.15 * limit_s + cost.total_s
    assert found.low_s < found.seconds < found.high_s < 31 * cost.total_s


def test_batches_are_profiled_beside_the_next_downloads():
    slow_net = ImageCost(4.0, 0.1, 0.1)
    more = estimate([slow_net], profile_s=0.5).seconds - estimate([slow_net]).seconds
    assert 0 < more < 30 * 0.5


def test_plates_are_fitted_once():
    cost = ImageCost(0.01, 0.01, 1.0)
    fitted = estimate([cost], wells=[12], fit_once_s=5.0, fit_well_s=2.0)
    assert fitted.seconds == pytest.approx(estimate([cost]).seconds + 29, abs=0.5)
    many = estimate([cost], wells=[12] * 100, fit_once_s=5.0, fit_well_s=2.0)
    assert many.low_s == pytest.approx(29 * 100)


def test_on_a_gpu_groups_overlap():
    cost = ImageCost(0.01, 0.01, 4.0)
    half = estimate([cost]).seconds / 2
    assert estimate([cost], sizes=ON_GPU).seconds == pytest.approx(half, rel=0.1)


def test_nothing_takes_no_time():
    assert work_time([], Costs(images=(ImageCost(1, 1, 1),)), SIZES).high_s == 0


@settings(max_examples=60, deadline=None)
@given(cost=st.builds(ImageCost, SECONDS, SECONDS, SECONDS), count=st.integers(1, 50))
def test_more_images_take_longer(cost, count):
    for sizes in (SIZES, ON_GPU):
        some = estimate([cost], batches=count, sizes=sizes, profile_s=1.0)
        more = estimate([cost], batches=count + 1, sizes=sizes, profile_s=1.0)
        assert some.low_s < more.low_s
        assert some.high_s < more.high_s
        assert some.low_s <= some.seconds <= some.high_s


def play(costs, sizes, batches):
    """Return when the last table of a stream is written whose stages share no cores.

    Every image passes the stages in order; a stage handles one image for each of its workers.
    """
    images = [costs.images[i % len(costs.images)] for i in range(sum(batches))]
    times = [0.0] * len(images)
    for stage, workers in (
        ("download_s", sizes.downloads_at_once),
        ("preprocess_s", sizes.preprocess_workers),
        ("segment_s", sizes.groups_at_once),
    ):
        free = [0.0] * workers
        for i in sorted(range(len(images)), key=times.__getitem__):
            times[i] = max(times[i], heapq.heappop(free)) + getattr(images[i], stage)
            heapq.heappush(free, times[i])
    profiled = compiled = 0.0
    first = 0
    for size in batches:
        segmented = max(times[first : first + size])
        profiled = max(profiled, segmented) + size * costs.profile_s
        compiled = max(compiled, profiled) + size * costs.compile_s
        first += size
    return compiled


@settings(max_examples=100, deadline=None)
@given(
    images=st.lists(st.builds(ImageCost, SECONDS, SECONDS, SECONDS), min_size=1, max_size=4),
    profile_s=SECONDS,
    compile_s=SECONDS,
    repeats=st.integers(1, 5),
    size=st.integers(1, 4),
    workers=st.tuples(*[st.integers(1, 4)] * 3),
)
def test_the_interval_holds_the_time_of_a_simulated_stream(
    images, profile_s, compile_s, repeats, size, workers
):
    costs = Costs(images=tuple(images), profile_s=profile_s, compile_s=compile_s)
    downloads, readers, groups = workers
    sizes = LaneSizes(99, downloads, 99, readers, 0, 1, groups)
    batches = [size] * repeats * len(images)  # every probed image comes equally often
    found = work_time(batches, costs, sizes)
    assert found.low_s * 0.999 <= play(costs, sizes, batches) <= found.high_s * 1.001


def test_stages_beside_each_other_may_take_less_than_their_sum():
    cost = ImageCost(0.1, 1.0, 4.0)
    turns = estimate([cost], profile_s=2.0)
    beside = estimate([cost], profile_s=2.0, sizes=replace(SIZES, all_cores=True))
    assert turns.low_s == pytest.approx(30 * (1.0 / 2 + 4.0 + 2.0))  # both cores, all stages
    assert beside.low_s == pytest.approx(30 * 4.0)  # segmentation
    assert beside.low_s < beside.seconds == turns.seconds


def test_an_interval_is_never_without_width():
    same = (ImageCost(1.0, 1.0, 1.0),) * 3
    for images in (same[:1], same):
        found = Probe(Costs(images=images, startup_s=2.0), SIZES, 1).estimate([2, 2], [])
        assert found.low_s < found.seconds < found.high_s
        assert found.startup_s == 2.0
        assert found.stages["segment"] == 1.0
        low, high = re.fullmatch(r"about .* \((.*) to (.*)\), .*", str(found)).groups()
        assert low != high


def test_what_was_measured_once_may_be_off_by_half():
    quick = (ImageCost(0.01, 0.02, 0.1),) * 3
    found = Probe(Costs(images=quick, startup_s=13.7), SIZES, 1).estimate([3], [])
    assert found.low_s < 10
    assert found.high_s > 19.4  # what a stream took that was told 14 s


def test_the_spread_shrinks_with_the_number_and_is_half_for_one():
    assert spread([3.0]) == 0.5
    assert spread([2.0, 2.0, 2.0]) == 0
    assert spread([1.0, 2.0, 3.0]) > spread([1.0, 2.0, 3.0] * 4) > 0
    # Student's t for two degrees of freedom is 4.303.
    assert spread([1.0, 2.0, 3.0]) == pytest.approx(4.303 / 3**0.5 / 2, rel=1e-3)


def test_on_a_gpu_two_groups_are_segmented_at_once():
    assert ON_GPU.groups_at_once == 2


@pytest.mark.parametrize("options", [{}, {"cores": 4}])
def test_on_a_processor_one_group_has_all_cores(options):
    sizes = choose_sizes(RunOptions(**options), cores=4, gpu=False)
    assert (sizes.groups_at_once, sizes.frames_at_once, sizes.frames_in_memory) == (1, 4, 12)
