"""The decision what a start does with a folder: pure, so every case is cheap to try."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idrstream.config import RunOptions
from idrstream.errors import ConfigError
from idrstream.folder.decide import decide, needs_images
from idrstream.folder.identity import image_digest
from idrstream.folder.plans import RecordedBatch, RecordedImage, RecordedPlan, RequestedPlan
from idrstream.records import ImageTask
from idrstream.screen import well_name

SETTINGS = {"segmentor": {"diameter": 17}}


def tasks(*numbers, frames=(1,)):
    return tuple(ImageTask("P", well_name(n), n, frames, row=i) for i, n in enumerate(numbers))


def wanted(images, batch_size=2, identity=SETTINGS, modes=None, **choice):
    options = RunOptions(batch_size=batch_size, **dict.fromkeys(modes or (), True), **choice)
    return RequestedPlan.of(images, identity, options)


def folder(images, batch_size=2, **states):
    """Return plan and images of a folder that was begun with a table; states are b0="done"."""
    begun = wanted(images, batch_size)
    first = decide(begun, None)
    batches = {
        number: RecordedBatch(
            states.get(f"b{number}", "planned"), len(content), states.get(f"failed{number}", 0)
        )
        for number, content in first.batches.items()
    }
    plan = RecordedPlan(batch_size, begun.images_sha256, SETTINGS, True, batches, len(batches))
    return plan, known_images(begun, first.batches)


def known_images(begun, batches):
    digests = {id(t): image_digest(text) for t, text in zip(begun.tasks, begun.lines, strict=True)}
    return {
        number: [
            RecordedImage(digests[id(t)], t.plate, t.well, t.well_number, t.site, t.frames)
            for t in content
        ]
        for number, content in batches.items()
    }


def start(want, known, images=None, broken=()):
    """Decide as the session does: the images are loaded only when they are needed."""
    return decide(want, known, images=images if needs_images(want, known) else None, broken=broken)


def wells(decision):
    return {n: [task.well_number for task in content] for n, content in decision.batches.items()}


class TestTheSamePlan:
    def test_an_empty_folder_gets_every_batch(self):
        decision = start(wanted(tasks(1, 2, 3)), None)
        assert (decision.plan_change, decision.run, decision.added) == ("first", (0, 1), (0, 1))
        assert wells(decision) == {0: [1, 2], 1: [3]}

    def test_what_is_done_is_skipped_and_the_rest_is_run(self):
        known, images = folder(tasks(1, 2, 3, 4, 5, 6), b0="done", b1="failed")
        want = wanted(tasks(1, 2, 3, 4, 5, 6))
        assert not needs_images(want, known)
        decision = start(want, known, images)
        assert (decision.plan_change, decision.run, decision.done) == ("same", (1, 2), (0,))

    def test_what_is_done_but_not_proven_is_run(self):
        known, images = folder(tasks(1, 2, 3), b0="done", b1="done")
        assert start(wanted(tasks(1, 2, 3)), known, images, broken=[1]).run == (1,)

    def test_a_batch_that_was_published_without_some_images_is_done(self):
        known, images = folder(tasks(1, 2, 3), b0="done", failed0=1)
        assert start(wanted(tasks(1, 2, 3)), known, images).run == (1,)

    def test_unless_it_is_named(self):
        known, images = folder(tasks(1, 2, 3), b0="done", failed0=1, b1="done")
        decision = start(wanted(tasks(1, 2, 3), batch_nums=(0, 1)), known, images)
        assert (decision.run, decision.done) == ((0,), (1,))

    def test_force_recompute_runs_what_is_done(self):
        known, images = folder(tasks(1, 2, 3), b0="done", b1="done")
        want = wanted(tasks(1, 2, 3), modes=["force_recompute"], batch_nums=(1,))
        assert start(want, known, images).run == (1,)

    def test_ignore_failed_outputs_leaves_failed_batches_unless_named(self):
        known, images = folder(tasks(1, 2, 3), b0="failed")
        want = wanted(tasks(1, 2, 3), modes=["ignore_failed_outputs"])
        assert (start(want, known, images).run, start(want, known, images).left) == ((1,), (0,))
        named = wanted(tasks(1, 2, 3), modes=["ignore_failed_outputs"], batch_nums=(0,))
        assert start(named, known, images).run == (0,)

    @pytest.mark.parametrize(
        ("choice", "told"),
        [
            ({"start_batch": 2}, "start_batch is 2, but the table has the batches 0 to 1"),
            ({"start_batch": -1}, "start_batch is -1"),
            ({"batch_nums": (0, 2)}, r"batch_nums has \[2\], but the table has .* 0 to 1"),
        ],
    )
    def test_a_batch_that_is_not_there_is_named(self, choice, told):
        with pytest.raises(ConfigError, match=told):
            start(wanted(tasks(1, 2, 3), **choice), None)

    def test_rows_in_another_order_are_the_same_plan(self):
        known, images = folder(tasks(1, 2, 3), b0="done")
        decision = start(wanted(tasks(3, 2, 1)), known, images)
        assert (decision.plan_change, decision.run) == ("same", (1,))
        assert wells(decision) == {0: [1, 2], 1: [3]}


class TestATableThatGrows:
    def test_new_rows_become_new_batches_and_the_short_one_stays(self):
        known, images = folder(tasks(1, 2, 3), b0="done", b1="done")
        decision = start(wanted(tasks(1, 2, 3, 4, 5, 6)), known, images)
        assert (decision.plan_change, decision.run, decision.added) == ("grown", (2, 3), (2, 3))
        assert wells(decision) == {0: [1, 2], 1: [3], 2: [4, 5], 3: [6]}
        assert not decision.in_order

    def test_it_stays_in_order_when_no_batch_was_short(self):
        known, images = folder(tasks(1, 2), b0="done")
        assert start(wanted(tasks(1, 2, 3)), known, images).in_order

    def test_new_rows_may_be_anywhere(self):
        known, images = folder(tasks(2, 4), b0="failed")
        decision = start(wanted(tasks(1, 2, 3, 4)), known, images)
        assert (wells(decision), decision.run) == ({0: [2, 4], 1: [1, 3]}, (0, 1))


class TestAChangedPlanIsRefused:
    def test_other_settings(self):
        known, images = folder(tasks(1, 2), b0="done")
        other = wanted(tasks(1, 2), identity={"segmentor": {"diameter": 20}}, modes=["replan"])
        told = start(other, known, images).refused
        assert "segmentor.diameter was 17, is 20" in told
        assert "new output folder" in told
        assert "--force" in told
        assert "--replan" not in told

    def test_another_batch_size(self):
        known, images = folder(tasks(1, 2, 3))
        told = start(wanted(tasks(1, 2, 3), batch_size=3), known, images).refused
        for part in ("batch_size was 2, is 3", "new output folder", "--replan", "--force"):
            assert part in told

    def test_rows_that_are_gone_or_changed(self):
        known, images = folder(tasks(1, 2, 3))
        told = start(wanted((*tasks(1, 2), *tasks(3, frames=(7,)))), known, images).refused
        assert "1 image is no longer in the table (plate P well A3 frames 1)" in told
        assert "1 image is new or has other frames or metadata" in told


class TestReplan:
    def test_what_is_not_done_is_cut_anew_under_new_numbers(self):
        known, images = folder(tasks(1, 2, 3, 4, 5), b0="done", b1="failed")
        want = wanted(tasks(1, 2, 3, 4, 5), batch_size=3, modes=["replan"])
        decision = start(want, known, images)
        assert (decision.plan_change, decision.run, decision.dropped) == ("replanned", (3,), (1, 2))
        assert wells(decision) == {0: [1, 2], 3: [3, 4, 5]}

    def test_what_is_done_stays_also_without_its_row(self):
        known, images = folder(tasks(1, 2, 3, 4), b0="done")
        decision = start(wanted(tasks(2, 4, 5), modes=["replan"]), known, images)
        assert wells(decision) == {0: [1, 2], 2: [4, 5]}

    def test_a_frame_never_comes_into_two_tables(self):
        known, images = folder(tasks(1, 2), b0="done")
        want = wanted(tasks(1, 2, frames=(1, 9)), modes=["replan"])
        assert "plate P well A1, plate P well A2" in start(want, known, images).refused

    def test_a_dropped_number_is_explained(self):
        known, images = folder(tasks(1, 2, 3, 4, 5), b0="done")
        want = wanted(tasks(1, 2, 3, 4, 5), batch_size=3, modes=["replan"], batch_nums=(1,))
        with pytest.raises(ConfigError, match="a replan moved their images to other batches"):
            start(want, known, images)


class TestForce:
    def test_other_settings_compute_everything_again(self):
        known, images = folder(tasks(1, 2, 3), b0="done", b1="done")
        want = wanted(tasks(1, 2, 3), identity={"segmentor": {}}, modes=["force"])
        decision = start(want, known, images)
        assert (decision.plan_change, decision.run, decision.dropped) == ("forced", (0, 1), (0, 1))

    def test_another_table_keeps_the_batches_that_fit(self):
        known, images = folder(tasks(1, 2, 3, 4), b0="done", b1="done")
        decision = start(wanted(tasks(1, 2, 9), modes=["force"]), known, images)
        assert (decision.run, decision.done, decision.dropped) == ((1,), (0,), (1,))
        assert decision.in_order

    def test_the_same_plan_needs_no_force(self):
        known, images = folder(tasks(1, 2), b0="done")
        decision = start(wanted(tasks(1, 2), modes=["force"]), known, images)
        assert (decision.plan_change, decision.run) == ("same", ())


@settings(max_examples=150)
@given(
    first=st.lists(st.integers(1, 30), unique=True, min_size=1, max_size=12),
    second=st.lists(st.integers(1, 30), unique=True, min_size=1, max_size=12),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    done=st.sets(st.integers(0, 11)),
    mode=st.sampled_from([None, "replan", "force"]),
)
def test_every_image_is_in_exactly_one_batch_and_what_is_done_is_kept(
    first, second, sizes, done, mode
):
    states = {f"b{number}": "done" for number in done}
    known, images = folder(tasks(*first), sizes[0], **states)
    want = wanted(tasks(*second), sizes[1], modes=[mode] if mode else [])
    decision = start(want, known, images)
    if decision.refused:
        assert mode is None
        assert sizes[0] != sizes[1] or set(first) - set(second)
        return
    placed = [task.well_number for content in decision.batches.values() for task in content]
    assert len(placed) == len(set(placed))
    assert set(second) <= set(placed)
    assert set(decision.run).isdisjoint(decision.done)
    kept = [number for number in decision.done if number in known.batches]
    for number in kept:
        assert [t.well_number for t in decision.batches[number]] == [
            image.well_number for image in images[number]
        ]
    if mode != "force":
        computed = {t.well_number for n in decision.run for t in decision.batches[n]}
        was_done = {
            i.well_number for n, b in known.batches.items() if b.state == "done" for i in images[n]
        }
        assert computed.isdisjoint(was_done)
        assert set(decision.added).isdisjoint(known.batches)
