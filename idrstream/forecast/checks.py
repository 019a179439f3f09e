"""Checks before a stream starts. They return what they found and never raise."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from idrstream.errors import IdrStreamError
from idrstream.files import check_own_folder
from idrstream.folder.locks import holder
from idrstream.forecast.plan import Amount, Check
from idrstream.redact import redact
from idrstream.run.components import Components
from idrstream.schedule.disk.budget import disk_free_bytes
from idrstream.text import counted, format_size, parse_size
from idrstream.workers.steps import memory_bytes


def check_lock(folder: Path, role: str) -> Check:
    """Return whether another stream uses a folder."""
    who = holder(folder)
    if who is None:
        return Check(f"{role} is free", "ok", str(folder))
    remedy = f"wait until it is done or stop it (idrstream stop), or choose another {role}"
    return Check(f"{role} is free", "failed", f"{folder} is in use by {who}", remedy)


def check_work_folder(folder: Path) -> Check:
    """Return whether the folder that a stream works in is its own, or can be."""
    try:
        check_own_folder(folder)
    except IdrStreamError as error:
        return failed("work folder", error)
    return Check("work folder", "ok", str(folder))


def check_writable(folder: Path, role: str) -> Check:
    """Return whether a folder can be written, or created; nothing is written."""
    what = f"{role} can be written"
    there = _existing(folder)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Check(what, "ok", str(folder) if there == folder.absolute() else f"{folder}: new")
    why = "cannot be written" if there.is_dir() else "is not a folder"
    return Check(what, "failed", f"{there} {why}", f"make it writable or choose another {role}")


def check_models(components: Components) -> tuple[Check, float]:
    """Load what preprocessor, segmentor and engine need; also return the seconds it took."""
    started = time.monotonic()
    try:
        components.preprocessor.load()
        components.segmentor.load()
        components.engine.load()
    except IdrStreamError as error:
        remedy = f"see {error.explained_by()}"
        return Check("models load", "failed", str(error), remedy), time.monotonic() - started
    # The boundary to other people's code: a plan reports errors.
    except Exception as error:
        text = f"{type(error).__name__}: {redact(str(error))}"
        return Check("models load", "failed", text, "see idrstream doctor"), 0.0
    names = f"{type(components.segmentor).__name__}, {type(components.engine).__name__}"
    return Check("models load", "ok", names), time.monotonic() - started


def check_disk(
    tmp_dir: Path, folder: Path, peak: Amount | None, output: Amount | None
) -> list[Check]:
    """Return whether the disks have space for intermediate files and results."""
    needs: dict[int, tuple[Path, int, list[str]]] = {}
    for where, amount, role in ((tmp_dir, peak, "tmp_dir"), (folder, output, "final_data_dir")):
        if amount is None:
            continue
        disk = _existing(where).stat().st_dev
        path, need, roles = needs.get(disk, (where, 0, []))
        needs[disk] = (path, need + amount.high, [*roles, role])
    checks = []
    for path, need, roles in needs.values():
        free = disk_free_bytes(path.absolute())
        what = f"disk of {' and '.join(roles)}"
        detail = f"{format_size(free)} free, {format_size(need)} needed"
        if free >= need:
            checks.append(Check(what, "ok", detail))
        else:
            remedy = "free space, set a smaller disk_budget, or choose a folder on another disk"
            checks.append(Check(what, "failed", detail, remedy))
    if not needs:
        checks.append(Check("disk", "unknown", "no source states the size of its movies"))
    return checks


def check_memory(shapes: Sequence[tuple[int, int, int]], frames: int) -> Check:
    """Return whether the memory has space for the models and the frames that are in it at once.

    Parameters
    ----------
    shapes : sequence of (int, int, int)
        ``(C, Y, X)`` of frames that were opened.
    frames : int
        Frames in memory at once.
    """
    held = memory_bytes()  # with the models, which were loaded before
    # Pixels as float32, and labels; a segmentation needs more for the frame that it is at.
    largest = max((channels + 1) * y * x * 4 for channels, y, x in shapes)
    need, free = held + frames * largest, held + free_memory_bytes()
    detail = (
        f"{format_size(free)} free, at least {format_size(need)} needed for the models and "
        f"{counted(frames, 'frame')}"
    )
    remedy = (
        "end other programs, take a machine with more memory, or set frames_at_once = 1; images "
        "larger than memory: tile_px = 3104"
    )
    return (
        Check("memory", "ok", detail) if free >= need else Check("memory", "failed", detail, remedy)
    )


def free_memory_bytes() -> int:
    """Return the memory that programs can still have, of the machine or of the job's group."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
    with suppress(OSError, ValueError):  # a container or a job of a queue system
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text(encoding="ascii"))
        free = min(free, most - int((group / "memory.current").read_text(encoding="ascii")))
    return free


def check_budget(budget: str | int | None, least: int) -> Check | None:
    """Return whether the disk budget is enough for one batch; None without a budget."""
    limit = parse_size(budget)
    if limit is None:
        return None
    detail = f"{format_size(limit)}; one batch needs about {format_size(least)}"
    if limit >= least:
        return Check("disk_budget", "ok", detail)
    return Check("disk_budget", "failed", detail, "make disk_budget larger or batch_size smaller")


def failed(what: str, error: Exception, remedy: str = "") -> Check:
    """Return a failed check for an error."""
    if isinstance(error, IdrStreamError):
        return Check(what, "failed", str(error), remedy or f"see {error.explained_by()}")
    return Check(what, "failed", f"{type(error).__name__}: {redact(str(error))}", remedy)


def _existing(folder: Path) -> Path:
    """Return a folder, or the nearest folder above it that exists."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    return there
