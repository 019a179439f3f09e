"""The status of a stream as text, for terminals, logs and screen readers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from idrstream.folder.live import LaneNow, LivePhase
from idrstream.schedule.lanes import LaneReport
from idrstream.text import as_ranges, format_duration, format_size, short_path
from idrstream.visible import visible_line

if TYPE_CHECKING:
    from idrstream.folder.journal.records import Failure
    from idrstream.folder.live import Live
    from idrstream.folder.status import Status

_BAR = 24
_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}
_OF_STATE = {
    "running": "blue", "pausing": "yellow", "paused": "yellow", "done": "green",
    "stopped": "yellow", "died": "red",
}  # fmt: skip

Paint = Callable[[str, str], str]


def wants_colour(stream: TextIO) -> bool:
    """Return whether text for a stream may be coloured; see https://no-color.org."""
    return (
        stream.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "dumb") != "dumb"
    )


def status_lines(
    status: Status, failures: Sequence[Failure] = (), *, width: int = 100, colour: bool = False
) -> list[str]:
    """Return the status of a stream as lines without line ends.

    Parameters
    ----------
    status : Status
        The status.
    failures : sequence of Failure
        The latest failures.
    width : int
        Length to which lines are cut.
    colour : bool
        Whether to colour them for a terminal.
    """
    paint: Paint = _paint if colour else _plain
    finished = status.images_done + (0 if status.live is None else status.live.under_way)
    lines = [
        [
            (short_path(status.folder), "bold"), (": ", ""),
            (state_text(status), _OF_STATE.get(status.state, "")), (holder_text(status), "dim"),
        ],
        [
            ("batches  ", "dim"), *_bar(status.batches_done, status.batches),
            (f" {batches_text(status)}", ""),
        ],
        [("images   ", "dim"), *_bar(finished, status.images), (f" {images_text(status)}", "")],
    ]  # fmt: skip
    lines += [[(f"{name:9}", "dim"), (text, "")] for name, text in facts(status)]
    if status.failures:
        lines.append([("failures ", "dim"), (kinds_text(status), "red")])
    for item in failures:
        what = " ".join(filter(None, (item.where, item.stage, item.kind)))
        lines.append(
            [(f"  batch {item.batch} ", "dim"), (what, "red"), (f": {item.reason_line}", "")]
        )
    return [_line(pieces, width, paint) for pieces in lines]


def state_text(status: Status) -> str:
    """Return the state, and what is being done about a request."""
    phase = None if status.live is None else status.live.phase
    if phase == LivePhase.PAUSING:
        return "pausing: images in progress are finished first"
    if phase in (LivePhase.STARTING, LivePhase.STOPPING):
        return str(phase)
    return str(status.state)


def holder_text(status: Status) -> str:
    """Return who runs the stream, or what stopped it; begins with a space unless empty."""
    if status.holder is not None:
        return f" ({status.holder})"
    return f" by: {status.stopped_by}" if status.stopped_by else ""


def batches_text(status: Status) -> str:
    """Return how many batches are done, running and failed."""
    running = f", {status.batches_running} running" if status.batches_running else ""
    failed = f", {status.batches_failed} failed" if status.batches_failed else ""
    return f"{status.batches_done:,} of {status.batches:,} done{running}{failed}"


def images_text(status: Status) -> str:
    """Return how many images are done, finished in running batches, and left out."""
    finished = 0 if status.live is None else status.live.under_way
    more = f", {finished} finished in running batches" if finished else ""
    out = f", {status.images_failed:,} left out" if status.images_failed else ""
    return f"{status.images_done:,} of {status.images:,} done{more}{out}"


def kinds_text(status: Status) -> str:
    """Return how many failures there are of each kind."""
    return ", ".join(f"{kind} {count}" for kind, count in status.failures.items())


def lanes_of(status: Status) -> list[LaneNow | LaneReport]:
    """Return the lanes that have done something, of the running stream or of the last one."""
    live: Iterable[LaneNow] = () if status.live is None else status.live.lanes
    return [lane for lane in live if lane.jobs] or [lane for lane in status.lanes if lane.jobs]


def facts(status: Status) -> list[tuple[str, str]]:
    """Return name and text of what else is known: what is counted, rate, lanes, limit, disk."""
    found = [(status.objects, f"{status.nuclei:,}, tables {format_size(status.bytes)}")]
    if status.images_per_hour is not None:
        left = "" if status.left_s is None else f", {format_duration(status.left_s)} left"
        found.append(("rate", f"{status.images_per_hour:,.0f} images an hour{left}"))
    lanes = ", ".join(f"{lane.name} {lane.share:.0%}" for lane in lanes_of(status))
    if lanes:
        found.append(("lanes", lanes))
    elif status.stages:
        busy = (f"{name} {share:.0%}" for name, share in status.stages.items())
        found.append(("busy", ", ".join(busy)))
    if status.bottleneck:
        found.append(("limit", status.bottleneck.partition(" (")[0]))
    live = status.live
    if live is not None and live.disk_peak_bytes:
        limit = "" if live.disk_limit_bytes is None else f" of {format_size(live.disk_limit_bytes)}"
        peak = format_size(live.disk_peak_bytes)
        found.append(("disk", f"{format_size(live.disk_bytes)} now, at most {peak}{limit}"))
    if live is not None and live.workers:
        found.append(("workers", workers_text(live)))
    if live is not None and live.waiting:
        found.append(("waiting", live.waiting))
    return found


def workers_text(live: Live) -> str:
    """Return how many workers there are, where, at which batches, and the largest memory."""
    hosts = {worker.host for worker in live.workers}
    numbers = sorted(number for worker in live.workers for number in worker.batches)
    at = f", at batches {as_ranges(numbers)}" if numbers else ""
    peak = max(worker.peak_bytes for worker in live.workers)
    machines = "one machine" if len(hosts) == 1 else f"{len(hosts)} machines"
    return f"{len(live.workers)} on {machines}{at}, memory at most {format_size(peak)}"


def one_line(status: Status, now: datetime | None = None) -> str:
    """Return the status in one line, for a log."""
    when = now or datetime.now(UTC)
    parts = [
        f"{when:%Y-%m-%d %H:%M:%S} {state_text(status)}",
        f"batches {status.batches_done}/{status.batches}",
        f"images {status.images_done}/{status.images}",
        f"{status.objects} {status.nuclei}",
    ]
    if status.live is not None and status.live.under_way:
        parts[2] += f" + {status.live.under_way} in progress"
    if status.images_per_hour is not None:
        parts.append(f"{status.images_per_hour:.0f} images an hour")
    if status.left_s is not None:
        parts.append(f"{format_duration(status.left_s)} left")
    failed = sum(status.failures.values())
    if failed:
        parts.append(f"{failed} failures")
    return visible_line(", ".join(parts))


def _bar(done: int, total: int) -> list[tuple[str, str]]:
    filled = min(_BAR, _BAR * done // total) if total else 0
    return [("[" + "#" * filled, "blue"), ("." * (_BAR - filled) + "]", "dim")]


def _line(pieces: Sequence[tuple[str, str]], width: int, paint: Paint) -> str:
    """Join the pieces of a line and cut it to the width."""
    out, left = "", width
    for text, colour in pieces:
        cut = visible_line(text)[:left]
        left -= len(cut)
        out += paint(cut, colour)
    return out


def _plain(text: str, _colour: str) -> str:
    return text


def _paint(text: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if text and colour else text
