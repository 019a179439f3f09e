from hypothesis import given
from hypothesis import strategies as st
from plans import plan_of

from idrstream.records import ImageTask
from idrstream.screen import Plan, well_name


def tasks(count):
    return tuple(ImageTask("P", well_name(i + 1), i + 1, (1,), row=i) for i in range(count))


@given(st.integers(1, 60), st.integers(1, 25))
def test_batches_cover_the_table_once_and_in_order(count, batch_size):
    plan = plan_of(tasks(count), batch_size)
    assert [task for batch in plan for task in batch.tasks] == list(tasks(count))
    assert len(plan) == plan.batch_count
    assert plan.image_count == count


def test_a_number_names_the_same_images_whatever_is_run():
    some = Plan(tasks(25), 10, (2,))
    assert next(iter(some)) == plan_of(tasks(25), 10).batch(2)
    assert (some.batch_count, some.image_count) == (3, 5)


def test_batches_may_be_arranged():
    first, second, third = tasks(3)
    plan = Plan((first, second, third), 10, (4, 7), arranged={4: (third,), 7: (first, second)})
    assert [batch.tasks for batch in plan] == [(third,), (first, second)]
    assert plan.batch_count == 2
