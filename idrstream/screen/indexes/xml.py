"""Elements of an XML index, without entities and in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, NoReturn
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers import expat

_PIECE_BYTES = 1 << 16
_MAX_DEPTH = 32
_MAX_ELEMENTS = 60_000_000
_MAX_CHILDREN = 10_000
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


def elements(content: bytes, names: Collection[str], *, encoding: str = "") -> Iterator[Element]:
    """Yield the elements of some names as they end; names are without their prefix.

    Parameters
    ----------
    content : bytes
        An XML file.
    names : collection of str
        Elements that are wanted; one inside another is yielded before it and stays in it.
    encoding : str
        Of the file, whatever it says.

    Raises
    ------
    ValueError
        If it is no whole XML, declares a document type or entities, or is nested without end.
    """
    if encoding:
        content = _DECLARATION.sub("", content.decode(encoding)).encode()
    try:
        _refuse_document_type(content)
        yield from _elements(content, frozenset(names))
    except (expat.ExpatError, ElementTree.ParseError, LookupError, UnicodeError) as error:
        msg = f"it is not whole XML ({error}): was it cut or changed?"
        raise ValueError(msg) from error


def child_texts(element: Element) -> dict[str, str]:
    """Return the text of each child, by its name; of several the first."""
    found: dict[str, str] = {}
    for child in element:
        found.setdefault(child.tag, (child.text or "").strip())
    return found


def _elements(content: bytes, names: frozenset[str]) -> Iterator[Element]:
    parser: ElementTree.XMLPullParser[Any] = ElementTree.XMLPullParser(("start", "end"))
    plain: dict[str, str] = {}
    is_open: list[Element] = []
    wanted = count = 0
    for at in range(0, max(len(content), 1), _PIECE_BYTES):
        parser.feed(content[at : at + _PIECE_BYTES])
        if at + _PIECE_BYTES >= len(content):
            parser.close()
        events: Iterator[tuple[str, Any]] = parser.read_events()  # type: ignore[assignment]
        for event, element in events:
            if (name := plain.get(element.tag)) is None:
                name = plain[element.tag] = _plain(element.tag)
            if event == "start":
                count += 1
                _check_size(is_open, count, within=wanted > 0)
                is_open.append(element)
                wanted += name in names
                continue
            is_open.pop()
            if name in names:
                wanted -= 1
                yield _renamed(element)
            if not wanted and is_open:
                del is_open[-1][:]  # it is read: else memory would grow with the file


def _check_size(is_open: list[Element], count: int, *, within: bool) -> None:
    if len(is_open) >= _MAX_DEPTH or count > _MAX_ELEMENTS:
        msg = "it is nested too deeply or has too many elements for an index"
        raise ValueError(msg)
    if within and len(is_open[-1]) > _MAX_CHILDREN:
        msg = f"an element {_plain(is_open[-1].tag)} has more than {_MAX_CHILDREN:,} others in it"
        raise ValueError(msg)


def _renamed(element: Element) -> Element:
    """Return an element with what is in it, all names without their namespace."""
    for one in element.iter():
        if "}" in one.tag:
            one.tag = _plain(one.tag)
        if any("}" in key for key in one.attrib):
            one.attrib = {_plain(key): value for key, value in one.attrib.items()}
    return element


def _plain(name: str) -> str:
    return name.rpartition("}")[2]


class _BegunError(Exception):
    """The first element begins: no document type can come any more."""


def _refuse_document_type(content: bytes) -> None:
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = _begin
    try:
        parser.Parse(content, True)
    except _BegunError:
        return


def _begin(*_element: object) -> NoReturn:
    raise _BegunError


def _refuse(*_declaration: object) -> NoReturn:
    msg = "it declares a document type or entities, which no microscope writes: it is not read"
    raise ValueError(msg)
