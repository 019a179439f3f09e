"""The stream played through: which lane limits it, and what overlaps."""

import pytest

from idrstream.config import RunOptions
from idrstream.forecast.lanes import Costs, ImageCost, seconds_for, spread
from idrstream.schedule.options import LaneSizes, choose_sizes

SIZES = LaneSizes(
    batches_in_flight=3, downloads_at_once=4, prefetch=8, preprocess_workers=2, cores=2,
    frames_at_once=2,
)  # fmt: skip


def play(images, *, batches=6, size=5, sizes=SIZES, fits=None, **costs):
    plates = [["P"] * size for _ in range(batches)]
    return seconds_for(plates, Costs(images=tuple(images), **costs), sizes, fits or {})


def test_one_image_takes_all_its_stages():
    cost = ImageCost(1.0, 2.0, 4.0)
    assert play([cost], batches=1, size=1, profile_s=8.0, profile_once_s=16.0, compile_s=32.0) == 63


@pytest.mark.parametrize(
    ("cost", "limit_s"),
    [
        (ImageCost(8.0, 0.1, 0.1), 30 * 8.0 / 4),  # four downloads at once
        (ImageCost(0.1, 4.0, 0.1), 30 * 4.0 / 2),  # two read, on two cores
        (ImageCost(0.1, 0.1, 4.0), 30 * 4.0),  # one segmentation at a time
        (ImageCost(3.0, 1.5, 2.0), 30 * (2.0 + 1.5 / 2)),  # reading and network share the cores
    ],
)
def test_the_limiting_lane_sets_the_time_not_the_sum(cost, limit_s):
    seconds = play([cost])
    assert limit_s <= seconds <= 1.15 * limit_s + cost.total_s
    assert seconds < 30 * cost.total_s


def test_batches_are_profiled_beside_the_next_ones_downloads():
    slow_net = ImageCost(4.0, 0.1, 0.1)
    alone = play([slow_net])
    assert play([slow_net], profile_s=0.5) < alone + 6 * 5 * 0.5


def test_what_comes_once_a_batch_counts_once_a_batch():
    cost = ImageCost(0.01, 0.01, 0.01)
    few = play([cost], batches=3, size=10, profile_once_s=20.0)
    many = play([cost], batches=15, size=2, profile_once_s=20.0)
    assert few == pytest.approx(60, rel=0.05)
    assert many == pytest.approx(300, rel=0.05)


def test_a_plate_is_fitted_before_its_images():
    cost = ImageCost(0.01, 0.01, 1.0)
    with_fit = play([cost], fits={"P": 12}, fit_once_s=5.0, fit_well_s=2.0)
    assert with_fit == pytest.approx(play([cost]) + 29, abs=0.5)
    assert play([cost], fits={"other": 12}, fit_once_s=5.0) == play([cost])


def test_many_images_go_on_at_the_rate_of_some():
    cost = ImageCost(0.5, 0.2, 1.0)
    assert play([cost], batches=2000) == pytest.approx(20 * play([cost], batches=100), rel=0.03)


def test_a_gpu_has_no_limit_of_cores():
    cost = ImageCost(0.01, 1.0, 1.0, frames=2)
    assert play([cost], sizes=LaneSizes(3, 4, 8, 2, 0, 8)) == pytest.approx(30, rel=0.15)


def test_the_spread_shrinks_with_the_number_and_is_half_for_one():
    assert spread([3.0]) == 0.5
    assert spread([2.0, 2.0, 2.0]) == 0
    assert spread([1.0, 2.0, 3.0]) > spread([1.0, 2.0, 3.0] * 4) > 0
    # Student's t for two degrees of freedom is 4.303.
    assert spread([1.0, 2.0, 3.0]) == pytest.approx(4.303 / 3**0.5 / 2, rel=1e-3)


def test_on_a_gpu_groups_overlap():
    cost = ImageCost(0.01, 0.01, 4.0)
    gpu = choose_sizes(RunOptions(frames_at_once=2), cores=16, gpu=True)
    assert gpu.groups_at_once == 2
    assert play([cost], sizes=gpu) == pytest.approx(play([cost]) / 2, rel=0.1)


@pytest.mark.parametrize("options", [{}, {"cores": 4}])
def test_on_a_processor_one_group_has_all_cores(options):
    sizes = choose_sizes(RunOptions(**options), cores=4, gpu=False)
    assert (sizes.groups_at_once, sizes.frames_at_once, sizes.frames_in_memory) == (1, 4, 8)
