"""The settings of a component that change a result, ready for JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Described(Protocol):
    """A component that describes which of its settings change a result."""

    def describe(self) -> Mapping[str, Any]:
        """Return JSON-ready values; digests for the content of files, never their paths."""
        ...


def describe_part(part: object) -> dict[str, Any]:
    """Return what identifies a component of the stream.

    That is the result of its method ``describe``, if it has one, else its class and its public
    attributes or dataclass fields with plain values.

    Parameters
    ----------
    part : object
        A preprocessor, segmentor, engine, reader, ...

    Returns
    -------
    dict
        JSON-ready.
    """
    if isinstance(part, Described):
        return {str(key): _plain(value) for key, value in part.describe().items()}
    names = (
        [field.name for field in dataclasses.fields(part)]
        if dataclasses.is_dataclass(part)
        else list(getattr(part, "__dict__", {}))
    )
    kind = type(part)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        **{name: _plain(getattr(part, name)) for name in names if not name.startswith("_")},
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it, the same whether it has been through a file or not."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(item) for item in value)
    if isinstance(value, Path):
        return str(value)
    return describe_part(value) if isinstance(value, Described) else type(value).__qualname__


def take_over(adapter: object, given: object, names: Sequence[str]) -> None:
    """Give an adapter those methods of a user's object that it has, in the place of defaults."""
    for name in names:
        if hasattr(given, name):
            setattr(adapter, name, getattr(given, name))
