"""Elements of an XML index, without entities and in bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NoReturn
from xml.etree.ElementTree import Element
from xml.parsers import expat

_PIECE_BYTES = 1 << 16
_MAX_DEPTH = 32
_MAX_ELEMENTS = 60_000_000
_MAX_TEXT = 1 << 16  # characters of an element that is read
_MAX_CHILDREN = 10_000


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
    reading = _Reading(frozenset(names))
    parser = expat.ParserCreate(encoding or None)
    parser.buffer_text = True
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        for at in range(0, max(len(content), 1), _PIECE_BYTES):
            piece = content[at : at + _PIECE_BYTES]
            parser.Parse(piece, at + _PIECE_BYTES >= len(content))
            yield from reading.taken()
    except (expat.ExpatError, LookupError, UnicodeError) as error:
        msg = f"it is not whole XML ({error}): was it cut or changed?"
        raise ValueError(msg) from error


def child_texts(element: Element) -> dict[str, str]:
    """Return the text of each child, by its name; of several the first."""
    found: dict[str, str] = {}
    for child in element:
        found.setdefault(child.tag, (child.text or "").strip())
    return found


class _Reading:
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._open: list[Element | None] = []
        self._wanted = 0
        self._count = 0
        self._done: list[Element] = []

    def taken(self) -> list[Element]:
        done, self._done = self._done, []
        return done

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= _MAX_DEPTH or self._count > _MAX_ELEMENTS:
            msg = "it is nested too deeply or has too many elements for an index"
            raise ValueError(msg)
        tag = _plain(name)
        wanted = tag in self._names
        self._wanted += wanted
        if not self._wanted:
            self._open.append(None)
            return
        element = Element(tag, {_plain(key): value for key, value in attributes.items()})
        parent = self._open[-1] if self._open else None
        if parent is not None:
            if len(parent) >= _MAX_CHILDREN:
                msg = f"an element {parent.tag} has more than {_MAX_CHILDREN:,} others in it"
                raise ValueError(msg)
            parent.append(element)
        self._open.append(element)

    def end(self, name: str) -> None:
        element = self._open.pop()
        if element is not None and _plain(name) in self._names:
            self._wanted -= 1
            self._done.append(element)

    def text(self, data: str) -> None:
        element = self._open[-1] if self._open else None
        if element is None or len(element):
            return
        element.text = (element.text or "") + data
        if len(element.text) > _MAX_TEXT:
            element.text = element.text[:_MAX_TEXT]  # a profile of the light, or nonsense


def _plain(name: str) -> str:
    return name.rpartition(":")[2]


def _refuse(*_declaration: object) -> NoReturn:
    msg = "it declares a document type or entities, which no microscope writes: it is not read"
    raise ValueError(msg)
