import pytest
from hypothesis import given
from hypothesis import strategies as st

from idrstream.errors import ConfigError
from idrstream.records import ImageTask
from idrstream.screen import Plan, well_name


def tasks(count):
    return tuple(ImageTask("P", well_name(i + 1), i + 1, (1,), row=i) for i in range(count))


@given(st.integers(1, 60), st.integers(1, 25))
def test_batches_cover_the_table_once_and_in_order(count, batch_size):
    plan = Plan.of(tasks(count), batch_size=batch_size)
    assert [task for batch in plan for task in batch.tasks] == list(tasks(count))
    assert len(plan) == plan.batch_count
    assert plan.image_count == count


def test_a_number_names_the_same_images_whatever_is_run():
    everything = Plan.of(tasks(25), batch_size=10)
    some = Plan.of(tasks(25), batch_size=10, start_batch=1, batch_nums=[0, 2])
    assert some.numbers == (2,)
    assert next(iter(some)) == everything.batch(2)
    assert some.image_count == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"start_batch": 3}, "start_batch is 3, but the table has the batches 0 to 2"),
        ({"start_batch": -1}, "start_batch is -1"),
        ({"batch_nums": [1, 7]}, r"batch_nums has \[7\]"),
        ({"batch_nums": "some"}, 'give "all"'),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        Plan.of(tasks(25), **{"batch_size": 10, **options})
