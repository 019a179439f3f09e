"""What every benchmark says of the machine that it ran on, and how it writes its numbers."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.errors import MissingToolError
from idrstream.profile.deepprofiler.python import deepprofiler_python, deepprofiler_versions
from idrstream.records import OBJECT_FIELDS, Objects

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> dict[str, Any]:
    """Return processor, memory, GPU and load of this machine."""
    info: dict[str, Any] = {
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "gpu": None,
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        info["instructions"] = torch.backends.cpu.get_cpu_capability()
        if torch.cuda.is_available():
            info["gpu"] = torch.cuda.get_device_name()
    return info


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of packages; those that are missing are left out."""
    found = {}
    for name in ("idrstream", *names):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    with suppress(MissingToolError):
        apart = deepprofiler_versions(deepprofiler_python())
        found |= {name: version for name, version in apart.items() if name in names}
    return found


def write_result(path: Path | None, question: str, packages: Iterable[str], **result: Any) -> None:
    """Write a result with machine, versions and command as JSON, when there is a path."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "question": question,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(packages),
        **result,
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table; floats with three digits."""
    lines = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        sys.stdout.write("  ".join(t.rjust(w) for t, w in zip(line, widths, strict=True)) + "\n")


def objects_at(
    points: NDArray[np.float64], shape: tuple[int, int], *, area: float = 250, **others: Any
) -> Objects:
    """Return nuclei at points ``(y, x)`` of a frame, with an area but without masks."""
    table = np.zeros(len(points), OBJECT_FIELDS)
    table["label"], table["area"] = np.arange(1, len(points) + 1), area
    table["y"], table["x"] = np.reshape(points, (-1, 2)).T
    return Objects("Nuclei", np.zeros(shape, np.int32), table, **others)


def resident_bytes() -> int:
    """Return the memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
