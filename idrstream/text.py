"""Batch numbers written short: ``3-17, 20``."""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 40
_WORTH_A_RANGE = 3  # numbers in a row


def spans(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and last number of each unbroken row of numbers, ascending."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def as_ranges(numbers: Iterable[int], separator: str = ", ", most: int = _SHOWN) -> str:
    """Return numbers as text for a person or a command line, for example ``3-17, 20``.

    Parameters
    ----------
    numbers : iterable of int
        Batch numbers.
    separator : str
        Stands between ranges.
    most : int
        Ranges that are shown; it is said how many numbers stand in the others.
    """
    found = spans(numbers)
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in found[:most]]
    left = sum(b - a + 1 for a, b in found[most:])
    return separator.join(texts) + (f"{separator}and {left} more" if left else "")


def as_python(numbers: Iterable[int]) -> str:
    """Return numbers as a Python list, for example ``[*range(3, 18), 20]``."""
    texts = [
        f"*range({a}, {b + 1})"
        if b - a + 1 >= _WORTH_A_RANGE
        else ", ".join(str(number) for number in range(a, b + 1))
        for a, b in spans(numbers)
    ]
    return f"[{', '.join(texts)}]"
