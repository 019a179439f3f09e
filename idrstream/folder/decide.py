"""Decide what a run does with an output folder: pure functions, nothing is read here.

Which batches run, or why the run is refused, follows from the recorded plan in the folder's journal
and the requested plan from table and settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from idrstream.errors import ConfigError
from idrstream.folder.identity import differences, image_digest
from idrstream.folder.plans import (
    Decision,
    PlanChange,
    RecordedBatch,
    RecordedImage,
    RecordedPlan,
    RequestedPlan,
)
from idrstream.folder.states import BatchState
from idrstream.records import ImageTask
from idrstream.text import counted, shorten_list

_SHOWN = 5


def needs_images(requested: RequestedPlan, recorded: RecordedPlan | None) -> bool:
    """Return whether `decide` needs the images of every batch, not only their digest."""
    if recorded is None:
        return False
    forced = requested.options.force and bool(differences(recorded.identity, requested.identity))
    return forced or not _follows(requested, recorded)


def decide(
    requested: RequestedPlan,
    recorded: RecordedPlan | None,
    *,
    images: Mapping[int, Sequence[RecordedImage]] | None = None,
    broken: Iterable[int] = (),
) -> Decision:
    """Decide what a run does.

    Parameters
    ----------
    requested : RequestedPlan
        Table, settings and options of the run.
    recorded : RecordedPlan or None
        The plan in the folder's journal; None if it has none yet.
    images : Mapping, optional
        The images of every recorded batch; only used if `needs_images` returns True.
    broken : iterable of int
        Batches recorded as done whose file is missing or changed.

    Returns
    -------
    Decision
        Batches to run, or why the run is refused.

    Raises
    ------
    ConfigError
        If a batch is chosen that the plan does not have.
    """
    if recorded is None:
        batches = _cut(requested.tasks, requested.batch_size, 0)
        plan = Decision(plan_change="first", batches=batches, added=tuple(batches))
        states: dict[int, RecordedBatch] = {}
    else:
        states = dict(recorded.batches)
        for number in broken:
            states[number] = states[number]._replace(state=BatchState.PLANNED)
        plan = _arrange(requested, recorded, states, images)
    if plan.refused:
        return plan
    run, done, left = _choose(requested, plan.batches, states, frozenset(plan.added))
    return dataclasses.replace(plan, run=run, done=done, left=left)


def _follows(requested: RequestedPlan, recorded: RecordedPlan) -> bool:
    """Return whether the recorded plan is the requested table, cut in order."""
    return (
        recorded.in_order
        and requested.batch_size == recorded.batch_size
        and requested.images_sha256 == recorded.images_sha256
    )


def _arrange(
    requested: RequestedPlan,
    recorded: RecordedPlan,
    states: Mapping[int, RecordedBatch],
    images: Mapping[int, Sequence[RecordedImage]] | None,
) -> Decision:
    """Reconcile the requested and the recorded plan."""
    changed = differences(recorded.identity, requested.identity)
    if changed and not requested.options.force:
        return Decision(
            refused=f"its settings differ: {shorten_list(changed, _SHOWN, '; ')}. Choose a new "
            "output folder, or recompute everything in this one with force=True (--force)"
        )
    if not changed and _follows(requested, recorded):
        return Decision(batches=_cut(requested.tasks, requested.batch_size, 0))
    if images is None:
        msg = "the images of the folder's batches are needed to compare them"
        raise ValueError(msg)
    resized = requested.batch_size != recorded.batch_size
    tasks = {
        image_digest(line): task
        for line, task in zip(requested.lines, requested.tasks, strict=True)
    }
    if requested.options.force and (changed or resized or _missing(tasks, images)):
        return _forced(requested, states, tasks, images, keep=not changed)
    if requested.options.replan and (resized or _missing(tasks, images)):
        return _replanned(requested, recorded, states, tasks, images)
    reasons = _plan_changes(requested, recorded, tasks, images)
    if reasons:
        return Decision(
            refused=f"it follows another plan: {'; '.join(reasons)}. Choose a new output folder, "
            "divide the unfinished images into new batches with replan=True (--replan), or switch "
            "to this plan and recompute what does not fit with force=True (--force)"
        )
    return _grown(requested, recorded, tasks, images)


def _grown(
    requested: RequestedPlan,
    recorded: RecordedPlan,
    tasks: Mapping[bytes, ImageTask],
    images: Mapping[int, Sequence[RecordedImage]],
) -> Decision:
    """Keep every batch; put new images into additional batches."""
    batches = {
        number: tuple(tasks[image.digest] for image in content)
        for number, content in images.items()
    }
    old = {image.digest for content in images.values() for image in content}
    new = tuple(task for digest, task in tasks.items() if digest not in old)
    added = _cut(new, requested.batch_size, recorded.next_number)
    change: PlanChange = "grown" if added else "same"
    batches |= added
    in_order = batches == _cut(requested.tasks, requested.batch_size, 0)
    return Decision(plan_change=change, batches=batches, added=tuple(added), in_order=in_order)


def _replanned(
    requested: RequestedPlan,
    recorded: RecordedPlan,
    states: Mapping[int, RecordedBatch],
    tasks: Mapping[bytes, ImageTask],
    images: Mapping[int, Sequence[RecordedImage]],
) -> Decision:
    """Keep the batches that are done; divide all other images into batches with new numbers."""
    kept = {number for number, batch in states.items() if batch.state == BatchState.DONE}
    done = {image.digest: image for number in kept for image in images[number]}
    rest = tuple(task for digest, task in tasks.items() if digest not in done)
    frames = {
        (image.plate, image.well_number, image.site, frame)
        for image in done.values()
        for frame in image.frames
    }
    twice = [
        task.name
        for task in rest
        if any(
            (task.plate, task.well_number, task.site, frame) in frames
            for frame in task.frames or (1,)  # of a movie of which every frame is wanted
        )
    ]
    if twice:
        return Decision(
            refused=f"frames of {shorten_list(twice, _SHOWN)} are done with other "
            "metadata or in a row with other frames, and would be in two tables; "
            "give new frames rows of their own, "
            "choose a new output folder, or use force=True (--force)"
        )
    batches = {
        number: tuple(tasks[i.digest] if i.digest in tasks else _task(i) for i in images[number])
        for number in sorted(kept)
    }
    added = _cut(rest, requested.batch_size, recorded.next_number)
    return Decision(
        plan_change="replanned",
        batches={**batches, **added},
        added=tuple(added),
        dropped=tuple(sorted(recorded.batches.keys() - kept)),
        in_order=False,
    )


def _forced(
    requested: RequestedPlan,
    states: Mapping[int, RecordedBatch],
    tasks: Mapping[bytes, ImageTask],
    images: Mapping[int, Sequence[RecordedImage]],
    *,
    keep: bool,
) -> Decision:
    """Divide the table again; keep only finished batches that stay the same."""
    batches = _cut(requested.tasks, requested.batch_size, 0)
    digests = _cut(tuple(tasks), requested.batch_size, 0)
    kept = {
        number
        for number, content in digests.items()
        if keep
        and number in images
        and states[number].state == BatchState.DONE
        and content == tuple(image.digest for image in images[number])
    }
    return Decision(
        plan_change="forced",
        batches=batches,
        added=tuple(number for number in batches if number not in kept),
        dropped=tuple(sorted(images.keys() - kept)),
    )


def _choose(
    requested: RequestedPlan,
    batches: Mapping[int, tuple[ImageTask, ...]],
    states: Mapping[int, RecordedBatch],
    added: frozenset[int],
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the batches to run, those that are done, and those that failed and are skipped."""
    options = requested.options
    named = options.batch_nums != "all"
    run: list[int] = []
    done: list[int] = []
    left: list[int] = []
    for number in chosen_numbers(batches, options.start_batch, options.batch_nums):
        state = states.get(number)
        if state is None or number in added or options.force_recompute:
            run.append(number)
        elif state.state == BatchState.DONE and not (named and state.failed_images):
            done.append(number)
        elif state.state == BatchState.FAILED and options.ignore_failed_outputs and not named:
            left.append(number)
        else:
            run.append(number)
    return tuple(run), tuple(done), tuple(left)


def chosen_numbers(
    batches: Iterable[int], start_batch: int, batch_nums: str | Iterable[int]
) -> list[int]:
    """Return the chosen batches of a plan in ascending order.

    Raises
    ------
    ConfigError
        If a chosen batch does not exist; names the option and the existing batches.
    """
    existing = set(batches)
    last = max(existing, default=-1)
    if not 0 <= start_batch <= last:
        msg = f"start_batch is {start_batch}, but the table has the batches 0 to {last}"
        raise ConfigError(msg)
    if isinstance(batch_nums, str):
        if batch_nums != "all":
            msg = f'batch_nums is {batch_nums!r}; give "all" or a list of batch numbers'
            raise ConfigError(msg)
        chosen = existing
    else:
        chosen = {int(number) for number in batch_nums}
    unknown = sorted(chosen - existing)
    if unknown:
        why = " (a replan moved their images to other batches)" if unknown[0] <= last else ""
        msg = f"batch_nums has {unknown}, but the table has the batches 0 to {last}{why}"
        raise ConfigError(msg)
    return sorted(number for number in chosen if number >= start_batch)


def _plan_changes(
    requested: RequestedPlan,
    recorded: RecordedPlan,
    tasks: Mapping[bytes, ImageTask],
    images: Mapping[int, Sequence[RecordedImage]],
) -> list[str]:
    reasons = []
    if requested.batch_size != recorded.batch_size:
        reasons.append(f"batch_size was {recorded.batch_size}, is {requested.batch_size}")
    missing = _missing(tasks, images)
    if missing:
        names = [f"plate {i.plate} well {i.well} frames {i.frames_text}" for i in missing]
        images_are = counted(len(missing), "image is", "images are")
        reasons.append(f"{images_are} no longer in the table ({shorten_list(names, _SHOWN)})")
        old = {image.digest for content in images.values() for image in content}
        new = sum(digest not in old for digest in tasks)
        if new:
            new_are = counted(new, "image is new or has", "images are new or have")
            reasons.append(f"{new_are} other frames or metadata")
    return reasons


def _missing(
    tasks: Mapping[bytes, ImageTask], images: Mapping[int, Sequence[RecordedImage]]
) -> list[RecordedImage]:
    return [image for content in images.values() for image in content if image.digest not in tasks]


def _cut(items: tuple[Any, ...], batch_size: int, first: int) -> dict[int, tuple[Any, ...]]:
    if batch_size < 1:
        msg = f"batch_size is {batch_size}; it must be at least 1"
        raise ConfigError(msg)
    return {
        first + number: items[start : start + batch_size]
        for number, start in enumerate(range(0, len(items), batch_size))
    }


def _task(image: RecordedImage) -> ImageTask:
    return ImageTask(
        image.plate, image.well, image.well_number, image.frames, image.site, every=image.every
    )
