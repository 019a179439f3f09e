"""Names of plates: as a study writes them, as files can have them, and alike ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from idrstream.screen.cells import MAX_NAME_BYTES, name_problem
from idrstream.screen.study.archive_paths import check_name

_UNFIT = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029]|\.\.+")
# What says nothing about the plate when its file or folder is called so.
_GENERIC = re.compile(
    r"(?:Images?|Index|MeasurementIndex|MeasurementData|experiment_descriptor|"
    r"TimePoint_\d+|Meas_\d+\b.*|data|raw)",
    flags=re.IGNORECASE,
)
_SUFFIXES = re.compile(r"(?:\.(?:companion\.ome|idx\.xml|ColumbusIDX\.xml)|\.[A-Za-z]\w{0,7})+$")


def file_name(name: str) -> str:
    """Return a plate's name as one that files can have; most names stay as they are.

    Parameters
    ----------
    name : str
        Any text, for example ``VAMP_DEG_20131023/Meas_01``.

    Returns
    -------
    str
        For example ``VAMP_DEG_20131023_Meas_01``.
    """
    safe = " ".join(name.split())
    if check_name(safe) is not None or name_problem(safe) is not None:
        safe = _UNFIT.sub("_", safe).strip()
        if safe[:1] in ("-", ".", "~", ""):
            safe = f"_{safe}"
        if safe.endswith("."):
            safe = f"{safe[:-1]}_"
    while len(safe.encode("utf-8", "replace")) > MAX_NAME_BYTES - 8:  # room for a number
        safe = safe[:-1].rstrip(" .")
    return safe if name_problem(safe) is None else f"plate_{safe}"


def unlike(name: str, taken: Iterable[str]) -> str:
    """Return `name`, with a number if one like it is taken: ``P1``, then ``P1 (2)``."""
    used = {_folded(other) for other in taken}
    number, new = 1, name
    while _folded(new) in used:
        number += 1
        new = f"{name} ({number})"
    return new


def name_of_path(path: str) -> str:
    """Return what a plate is called whose study gives only the path of its file or folder."""
    parts = PurePosixPath(path).parts
    for at in range(len(parts) - 1, -1, -1):
        name = _SUFFIXES.sub("", parts[at]) if at == len(parts) - 1 else parts[at]
        if name.strip("/. ") and _GENERIC.fullmatch(name) is None:
            return name
    return PurePosixPath(path).name or path


def match_names(plates: Mapping[str, str], wanted: Iterable[str]) -> dict[str, str]:
    """Return what each plate is called elsewhere, as far as that is clear.

    Parameters
    ----------
    plates : mapping of str to str
        Each plate, and its name as the study writes it.
    wanted : iterable of str
        Names as an annotation has them.

    Returns
    -------
    dict
        Plate to name: the same names first; what is left is compared without case and
        punctuation, and matched where one is left on either side.
    """
    names = set(wanted)
    found: dict[str, str] = {}
    for plate, name in plates.items():
        for same in (name, plate):
            if same in names:
                found[plate] = same
                break
    left = _by_letters((name, [name]) for name in names - set(found.values()))
    there = _by_letters((p, (p, name)) for p, name in plates.items() if p not in found)
    for letters, alike in there.items():
        if len(alike) == len(left.get(letters, ())) == 1:
            found.setdefault(alike[0], left[letters][0])
    return found


def _by_letters(items: Iterable[tuple[str, Iterable[str]]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, others in items:
        for letters in {_letters(text) for text in others} - {""}:
            groups.setdefault(letters, []).append(name)
    return groups


def _letters(name: str) -> str:
    """Return letters and digits without case; numbers without the zeros in front."""
    text = unicodedata.normalize("NFKC", name).casefold()
    words = re.findall(r"\d+|[^\W\d_]+", text)
    return " ".join(str(int(word)) if word.isdecimal() else word for word in words)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()
