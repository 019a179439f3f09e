"""Keyword arguments of methods that take the options of a section."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar

from idrstream.config.options import Option, options_in

F = TypeVar("F", bound=Callable[..., Any])

_NOTHING = inspect.Parameter.empty


def takes_options(section: type[Any], *, positional: int = 0) -> Callable[[F], F]:
    """Let a method that ends in ``**options`` show the options of a section as its own.

    Its signature and the ``**options`` entry of its docstring list them, for ``help()`` and
    completion. The method gets them as keywords, unchecked. Options that are parameters of the
    method itself stay as it declares them.

    Parameters
    ----------
    section : type
        A section of the settings.
    positional : int
        How many of its first options may be given by position, after the method's own
        positional arguments.
    """

    def decorate(method: F) -> F:
        own = list(inspect.signature(method).parameters.values())[:-1]
        names = {item.name for item in own}
        known = tuple(item for item in options_in(section) if item.name not in names)
        leading = [item for item in own if item.kind is not inspect.Parameter.KEYWORD_ONLY]

        @functools.wraps(method)
        def call(*arguments: Any, **keywords: Any) -> Any:
            extra = arguments[len(leading) :]
            if len(extra) > positional:
                msg = (
                    f"{method.__name__}() takes at most {len(leading) + positional - 1} positional "
                    f"arguments ({len(arguments) - 1} given)"
                )
                raise TypeError(msg)
            named = dict(zip((option.name for option in known), extra, strict=False))
            if twice := named.keys() & keywords.keys():
                msg = f"{method.__name__}() got {', '.join(sorted(twice))} twice"
                raise TypeError(msg)
            return method(*arguments[: len(leading)], **named, **keywords)

        shown = [_parameter(option, by_position=n < positional) for n, option in enumerate(known)]
        call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*leading, *shown[:positional], *own[len(leading) :], *shown[positional:]]
        )
        call.__doc__ = _with_options(method.__doc__, known)
        return call  # type: ignore[return-value]

    return decorate


def _parameter(option: Option, *, by_position: bool) -> inspect.Parameter:
    kinds = inspect.Parameter
    return inspect.Parameter(
        option.name,
        kinds.POSITIONAL_OR_KEYWORD if by_position else kinds.KEYWORD_ONLY,
        default=_NOTHING if option.default is dataclasses.MISSING else option.default,
        annotation=option.kind,
    )


def _with_options(doc: str | None, options: tuple[Option, ...]) -> str | None:
    """Return a docstring with an entry for each option in the place of ``**options``."""
    if doc is None or "**options" not in doc:
        return doc
    head, _, tail = inspect.cleandoc(doc).partition("**options\n")
    _, _, rest = tail.partition("\n\n")
    entries = [
        f"{option.name} : {_kind(option)}\n"
        + textwrap.indent(textwrap.fill(option.help, 90), "    ")
        for option in options
    ]
    return head + "\n".join(entries) + "\n\n" + rest


def _kind(option: Option) -> str:
    text = getattr(option.kind, "__name__", None) or str(option.kind)
    return f"{text.replace('typing.', '').replace('pathlib.', '')}, default: {option.default!r}"
