"""The picture of a stream as text: for a terminal, for a log, for whoever reads it aloud."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from idrstream.folder.journal.file import open_reader
from idrstream.folder.journal.schema import JOURNAL_NAME
from idrstream.folder.status import Status
from idrstream.text import format_duration, format_size

_BAR = 24
_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}
_OF_STATE = {
    "running": "blue", "paused": "yellow", "done": "green", "stopped": "yellow", "died": "red",
}  # fmt: skip

Paint = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class RecentFailure:
    """What failed last.

    Attributes
    ----------
    batch : int
        Number of the batch.
    where : str
        Plate, well and frame; empty for a whole batch.
    stage, kind, reason : str
        Where in the stream, class of the error, and its message.
    time : float
        When, in seconds since 1970.
    """

    batch: int
    where: str
    stage: str
    kind: str
    reason: str
    time: float


def recent_failures(folder: Path, count: int = 5) -> tuple[RecentFailure, ...]:
    """Return what failed last in an output folder and is not mended, the newest first.

    Raises
    ------
    JournalError
        If the folder has no journal that can be read.
    """
    with open_reader(folder / JOURNAL_NAME) as connection:
        rows = connection.execute(
            "SELECT batch, plate, well, frame, stage, kind, message, time FROM failures "
            "WHERE current = 1 ORDER BY id DESC LIMIT ?",
            (count,),
        ).fetchall()
    return tuple(
        RecentFailure(
            batch,
            " ".join(filter(None, (plate, well, "" if frame is None else f"frame {frame}"))),
            stage,
            kind,
            " ".join(reason.split()),
            time,
        )
        for batch, plate, well, frame, stage, kind, reason, time in rows
    )


def wants_colour(stream: TextIO) -> bool:
    """Tell whether text for a stream may be coloured: a terminal, and nobody says no.

    See https://no-color.org.
    """
    return (
        stream.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "dumb") != "dumb"
    )


def state_text(status: Status) -> str:
    """Return the state in words, with what is being done about a request."""
    phase = "" if status.live is None else status.live.phase
    if phase == "pausing":
        return "pausing: what is under way is finished first"
    if phase in ("starting", "stopping"):
        return phase
    return status.state


def picture(
    status: Status,
    failures: Sequence[RecentFailure] = (),
    *,
    width: int = 100,
    colour: bool = False,
) -> list[str]:
    """Return the picture of a stream as lines.

    Parameters
    ----------
    status : Status
        How far it is.
    failures : sequence of RecentFailure
        What failed last.
    width : int
        Lines are cut there.
    colour : bool
        Whether to colour them for a terminal.

    Returns
    -------
    list of str
        Without line ends.
    """
    paint: Paint = _paint if colour else _plain
    under_way = 0 if status.live is None else status.live.under_way
    lines = [
        [
            (status.folder, "bold"), (": ", ""),
            (state_text(status), _OF_STATE.get(status.state, "")), (_who(status), "dim"),
        ],
        [("batches  ", "dim"), *_bar(status.batches_done, status.batches), (_batches(status), "")],
        [
            ("images   ", "dim"),
            *_bar(status.images_done + under_way, status.images),
            (_images(status, under_way), ""),
        ],
    ]  # fmt: skip
    lines += [[(f"{name:9}", "dim"), (text, "")] for name, text in facts(status)]
    if status.failures:
        kinds = ", ".join(f"{kind} {count}" for kind, count in status.failures.items())
        lines.append([("failures ", "dim"), (kinds, "red")])
    lines += [
        [(f"  batch {item.batch} ", "dim"), (_place(item), "red"), (f": {item.reason}", "")]
        for item in failures
    ]
    return [_line(parts, width, paint) for parts in lines]


def facts(status: Status) -> list[tuple[str, str]]:
    """Return what is to be said in words, each with its name: nuclei, rate, lanes, disk."""
    found = [("nuclei", f"{status.nuclei:,}, tables {format_size(status.bytes)}")]
    if status.images_per_hour is not None:
        left = "" if status.left_s is None else f", {format_duration(status.left_s)} left"
        found.append(("rate", f"{status.images_per_hour:,.0f} images an hour{left}"))
    live = status.live
    if live is not None and any(lane.jobs for lane in live.lanes):
        lanes = (f"{lane.name} {lane.share:.0%}" for lane in live.lanes if lane.jobs)
        found.append(("lanes", ", ".join(lanes)))
    elif any(lane.jobs for lane in status.lanes):
        lanes = (f"{lane.name} {lane.share:.0%}" for lane in status.lanes if lane.jobs)
        found.append(("lanes", ", ".join(lanes)))
    if status.bottleneck:
        found.append(("limit", status.bottleneck.partition(" (")[0]))
    if live is not None and live.disk_peak_bytes:
        limit = "" if live.disk_limit_bytes is None else f" of {format_size(live.disk_limit_bytes)}"
        peak = format_size(live.disk_peak_bytes)
        found.append(("disk", f"{format_size(live.disk_bytes)} now, at most {peak}{limit}"))
    return found


def one_line(status: Status, now: datetime | None = None) -> str:
    """Return the picture in one line, for a log."""
    when = now or datetime.now(timezone.utc)
    parts = [
        f"{when:%Y-%m-%d %H:%M:%S} {state_text(status)}",
        f"batches {status.batches_done}/{status.batches}",
        f"images {status.images_done}/{status.images}",
        f"nuclei {status.nuclei}",
    ]
    if status.live is not None and status.live.under_way:
        parts[2] += f" + {status.live.under_way} under way"
    if status.images_per_hour is not None:
        parts.append(f"{status.images_per_hour:.0f} images an hour")
    if status.left_s is not None:
        parts.append(f"{format_duration(status.left_s)} left")
    failed = sum(status.failures.values())
    if failed:
        parts.append(f"{failed} failures")
    return ", ".join(parts)


def shown(text: str) -> str:
    """Return a text without anything that a terminal or browser would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _who(status: Status) -> str:
    if status.holder is not None:
        return f" ({status.holder})"
    return f" by: {status.stopped_by}" if status.stopped_by else ""


def _batches(status: Status) -> str:
    running = f", {status.batches_running} under way" if status.batches_running else ""
    failed = f", {status.batches_failed} failed" if status.batches_failed else ""
    return f" {status.batches_done} of {status.batches} done{running}{failed}"


def _images(status: Status, under_way: int) -> str:
    more = f", {under_way} finished in batches under way" if under_way else ""
    out = f", {status.images_failed} left out" if status.images_failed else ""
    return f" {status.images_done} of {status.images} done{more}{out}"


def _place(item: RecentFailure) -> str:
    return " ".join(filter(None, (item.where, item.stage, item.kind)))


def _bar(done: int, total: int) -> list[tuple[str, str]]:
    filled = min(_BAR, _BAR * done // total) if total else 0
    return [("[" + "#" * filled, "blue"), ("." * (_BAR - filled) + "]", "dim")]


def _line(parts: Sequence[tuple[str, str]], width: int, paint: Paint) -> str:
    """Join the parts of a line, cut at the width."""
    out, left = "", width
    for text, colour in parts:
        cut = shown(text)[:left]
        left -= len(cut)
        out += paint(cut, colour)
    return out


def _plain(text: str, _colour: str) -> str:
    return text


def _paint(text: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if text and colour else text
