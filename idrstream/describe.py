"""The settings of a component that change a result, ready for JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from idrstream.errors import ConfigError

T = TypeVar("T")


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


def adapt(given: object, kind: type[T], methods: Sequence[str], **instead: Any) -> T:
    """Return a user's object as a component of a kind.

    Parameters
    ----------
    given : object
        A component, which is returned as it is, or an object with the first of `methods`.
    kind : type
        Its protocol or class, which has defaults for the methods that the object may lack.
    methods : sequence of str
        Names of all methods and attributes; the first is required.
    **instead
        Methods to use in the place of the object's own.

    Raises
    ------
    ConfigError
        When the object lacks the required method.
    """
    if isinstance(given, kind):
        return given
    own = {name: getattr(given, name) for name in methods if hasattr(given, name)} | instead
    if not callable(own.get(methods[0])):
        name = type(given).__name__
        msg = f"{name} cannot be used as {kind.__name__}: it has no method {methods[0]}"
        raise ConfigError(msg)
    attributes = {k: staticmethod(v) if callable(v) else v for k, v in own.items()}
    attributes["describe"] = staticmethod(lambda: describe_part(given))
    adapted: T = type(f"Adapted{kind.__name__}", (kind,), attributes)()
    return adapted
