"""What became of every plate, annotated well and image of a study: nothing vanishes silently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from idrstream.text import counted, shorten_list

_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Plates:
    """The plates of a study's plates file, each in one of these groups.

    Attributes
    ----------
    used : tuple of str
        Have images in the table.
    not_chosen : tuple of str
        Left out by the choice of plates, fields or annotated wells.
    without_image : tuple of str
        Have no image.
    not_annotated : tuple of str
        Have images, none of whose wells is annotated.
    unread : mapping of str to str
        Address of the index or folder that has to be read to know the images.
    reasons : mapping of str to str
        Why it could not be read, where that was tried.
    only_annotated : tuple of str
        Plates of the annotation that the plates file does not have: in no other group.
    renamed : mapping of str to str
        Plates that the annotation writes differently, and how.
    """

    used: tuple[str, ...] = ()
    not_chosen: tuple[str, ...] = ()
    without_image: tuple[str, ...] = ()
    not_annotated: tuple[str, ...] = ()
    unread: dict[str, str] = field(default_factory=dict)
    only_annotated: tuple[str, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def listed(self) -> int:
        """Plates of the plates file."""
        groups = (self.used, self.not_chosen, self.without_image, self.not_annotated)
        return sum(map(len, groups)) + len(self.unread)


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a study's annotation, each in one of these groups.

    Attributes
    ----------
    used : int
        Wells with images in the table.
    merged : int
        Further lines of wells that have several.
    not_chosen : int
        Left out by the choice of rows or plates.
    without_image : tuple of str
        Wells that have no image.
    of_unread : int
        Wells of plates whose index or folder has to be read.
    of_other_plates : int
        Of plates that the plates file does not have.
    unusable : tuple of str
        Without plate or well, or with something else in the place of a well.
    differing : tuple of str
        Wells with several lines that are not equal; their cells have both values.
    """

    used: int = 0
    merged: int = 0
    not_chosen: int = 0
    without_image: tuple[str, ...] = ()
    of_unread: int = 0
    of_other_plates: int = 0
    unusable: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()

    @property
    def read(self) -> int:
        """Lines of the annotation below its header."""
        counted = self.used, self.merged, self.not_chosen, self.of_unread, self.of_other_plates
        return sum(counted) + len(self.without_image) + len(self.unusable)


@dataclass(frozen=True, slots=True)
class Images:
    """The images that a study's files name, each in one of these groups.

    Attributes
    ----------
    used : int
        Rows of the table.
    not_annotated : tuple of str
        Of wells without a line in the annotation.
    not_chosen : int
        Left out by the choice of fields or annotated wells.
    """

    used: int = 0
    not_annotated: tuple[str, ...] = ()
    not_chosen: int = 0

    @property
    def named(self) -> int:
        """Images that the study's files name."""
        return self.used + self.not_chosen + len(self.not_annotated)


@dataclass(frozen=True, slots=True)
class Balance:
    """What became of every plate, line of the annotation and image of a study.

    Attributes
    ----------
    plates, lines, images
        Each is in one group, so that the groups add up to what was read.
    notes : tuple of str
        What else is worth knowing, such as lines of the plates file that are no plate.
    """

    plates: Plates
    lines: Lines
    images: Images
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return all of it as lines of text, those of empty groups left out."""
        used, listed = len(self.plates.used), self.plates.listed
        total = f"{used} of {listed} plates, {self.images.used} of {self.images.named} images"
        lines = self.lines
        if lines.read:
            total += f", {lines.used} of {lines.read} lines of the annotation"
        return "\n".join((total, *self.gaps(), *self._choices(), *self.notes))

    def gaps(self) -> Iterator[str]:
        """Yield a sentence for each group that lacks something that nobody left out."""
        plates, lines, images = self.plates, self.lines, self.images
        yield from _named("plate", "without an image", plates.without_image)
        yield from _named("plate", "with images, but not in the annotation", plates.not_annotated)
        yield from _named("plate", "only in the annotation", plates.only_annotated)
        renamed = [f"{plate} = {name}" for plate, name in plates.renamed.items()]
        yield from _named("plate", "that the annotation writes differently", renamed)
        unread = [
            f"{plate}: {path}" + (f" ({plates.reasons[plate]})" if plate in plates.reasons else "")
            for plate, path in plates.unread.items()
        ]
        what = "whose index or folder has to be read in the archive"
        yield from _named("plate", what, unread)
        yield from _named("annotated well", "without an image", lines.without_image)
        yield from _named("line", "of the annotation without a usable well", lines.unusable)
        yield from _named("well", "with lines that differ; all values are kept", lines.differing)
        yield from _named("image", "of wells without annotation", images.not_annotated)

    def _choices(self) -> Iterator[str]:
        plates, lines, images = self.plates, self.lines, self.images
        yield from _named("plate", "left out by the choice", plates.not_chosen)
        for count, noun, what in (
            (images.not_chosen, "image", "left out by the choice"),
            (lines.not_chosen, "line", "of the annotation left out by the choice"),
            (lines.merged, "further line", "of wells that have several"),
            (lines.of_other_plates, "line", "of plates that the plates file does not have"),
            (lines.of_unread, "line", "of plates whose index or folder has to be read"),
        ):
            if count:
                yield f"{counted(count, noun)} {what}"


def _named(noun: str, what: str, names: tuple[str, ...] | list[str]) -> Iterator[str]:
    if names:
        yield f"{counted(len(names), noun)} {what}: {shorten_list(names, _SHOWN)}"
