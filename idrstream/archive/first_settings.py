"""Settings for a first stream over a table, chosen by what its images are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from idrstream.config.commented import SettingLine, commented_toml
from idrstream.errors import ConfigError, IdrStreamError, TableError
from idrstream.screen.columns import (
    CHANNEL_NAMES,
    CONTROL,
    GENE,
    PLANES,
    PLATE,
    WELL,
    channel_columns,
)
from idrstream.screen.study.archive_paths import under_archive
from idrstream.text import counted, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_NUCLEI = re.compile(r"dapi|hoechst|\bdna\b|draq|h2b|h2a|histone|nucle|sytox|405", re.IGNORECASE)
# Images of a plate: from so many BaSiC learns its light better than from single ones, and a
# diameter is that of more than a well or two.
_FOR_A_PLATE = 8


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a table and one of its images tell of all.

    Attributes
    ----------
    images, plates : int
        How many there are.
    channels : tuple of str
        Their names, or their numbers from 0 where they have none; empty if that is not known.
    channels_named : bool
        Whether these are names.
    planes, frames : int
        z-planes and frames of an image; 1 if that is not known.
    study : str
        Folder of the study in IDR's archive; empty for images from elsewhere.
    columns : tuple of str
        Columns of the table that say what was done to a well.
    nuclei : str
        The channel that shows nuclei by its name; else the first.
    """

    images: int
    plates: int
    channels: tuple[str, ...] = ()
    channels_named: bool = False
    planes: int = 1
    frames: int = 1
    study: str = ""
    columns: tuple[str, ...] = ()
    nuclei: str = ""

    def __str__(self) -> str:
        """Return it in one line."""
        names = (
            f"; channels {', '.join(self.channels)}: nuclei in {self.nuclei}"
            if len(self.channels) > 1
            else f"; one channel, {self.nuclei}"
        )
        return f"{self.count}{names if self.channels else ''}"

    @property
    def count(self) -> str:
        """How many images of how many plates."""
        return f"{counted(self.images, 'image')} of {counted(self.plates, 'plate')}"


def image_facts(table: pd.DataFrame, *, planes: int = 1, frames: int = 1) -> ImageFacts:
    """Return what a table tells, and the first of its images if it is on this machine.

    Parameters
    ----------
    table : pandas.DataFrame
        A table to process, all text.
    planes, frames : int
        Of an image, where that is known from elsewhere.

    Raises
    ------
    TableError
        If it has no rows.
    """
    if table.empty:
        msg = "the table has no images"
        raise TableError(msg)
    first = table.iloc[0]
    channels: Sequence[str] = list(channel_columns(table.columns))
    named = bool(channels)
    if not channels and first.get(CHANNEL_NAMES, ""):
        channels, named = first[CHANNEL_NAMES].split(";"), True
    stated = [int(text) for text in table.get(PLANES, ()) if str(text).isdecimal()]
    planes = max(planes, *stated, 1)
    here = _on_this_machine(first)
    if here is not None and not channels:
        channels, named, planes, frames = _of_file(here, planes, frames)
    inside = under_archive(first.get("Path", "")) or ""
    return ImageFacts(
        images=len(table),
        plates=table[PLATE].nunique(),
        channels=tuple(channels),
        channels_named=named,
        planes=planes,
        frames=frames,
        study=inside.partition("/")[0],
        columns=tuple(name for name in (CONTROL, GENE) if name in table.columns),
        nuclei=next((name for name in channels if _NUCLEI.search(name)), [*channels, ""][0]),
    )


def with_nuclei(facts: ImageFacts, channel: str | None) -> ImageFacts:
    """Return facts whose nuclei are in a channel that somebody names; None for the one found.

    Raises
    ------
    ConfigError
        If there is no such channel; says which there are.
    """
    if channel is None:
        return facts
    if channel not in facts.channels:
        known = f"its channels: {', '.join(facts.channels)}"
        known = known if facts.channels else "its channels have no names"
        near = did_you_mean(channel, facts.channels)
        raise ConfigError(f"--nuclei {channel}: no such channel; {known}{near}")
    return replace(facts, nuclei=channel)


@dataclass(frozen=True, slots=True)
class FirstSettings:
    """Where the files of a first stream are, and how it is called.

    Attributes
    ----------
    name : str
        Of the study, or what its images are called.
    table : str
        The table, relative to the settings.
    folder : str
        What the names of output and intermediate folders begin with.
    made_by : str
        The command line that the settings are of.
    others : tuple of SettingLine
        Settings that stand for those chosen here.
    """

    name: str
    table: str
    folder: str = ""
    made_by: str = ""
    others: tuple[SettingLine, ...] = ()

    def text(self, facts: ImageFacts) -> str:
        """Return the settings as a commented TOML file."""
        lines = [*self._stream(facts), *_images(facts), *_nuclei(facts), *_features(facts)]
        given = {line.name: line for line in self.others}
        # What is chosen stands for both what is used and what is suggested.
        lines = [
            given.pop(line.name, line) for line in lines if line.used or line.name not in given
        ]
        head = (
            f"Settings of a stream over {facts.count}"
            f"{f', made by {self.made_by}' if self.made_by else ''}.\n"
            "Paths are relative to this file. A line that begins with # is not used. All settings: "
            "idrstream run --help-all"
        )
        return commented_toml(head, [*lines, *given.values()])

    def _stream(self, facts: ImageFacts) -> list[SettingLine]:
        start = self.folder
        return [
            SettingLine("idr_id", self.name, "name of the study, for the log and the provenance"),
            SettingLine("table", self.table, "a row for each image: look at it, delete rows"),
            SettingLine("final_data_dir", f"{start}features", "tables, journal, report"),
            SettingLine("tmp_dir", f"{start}tmp", "images on their way, deleted after every batch"),
            SettingLine("log", f"{start}stream.log"),
            SettingLine("batch_size", 10, "images of a batch; a table comes out of each"),
            SettingLine(
                "extra_metadata", ("object_outlines", *facts.columns),
                "columns of the output beside the features",
            ),
            SettingLine("disk_budget", "20GB", "most space under tmp_dir", used=False),
        ]  # fmt: skip


def _images(facts: ImageFacts) -> list[SettingLine]:
    """Return where images come from and how they are read."""
    lines = [
        SettingLine("method", "auto", "where images come from: the table says it, else IDR"),
    ]
    if facts.study:
        lines.append(SettingLine("idr_index_name", facts.study, "the study in IDR's archive"))
    nuclei = f"DNA={facts.nuclei}"
    if facts.channels:
        lines.append(
            SettingLine("image_channels", (nuclei,), "NAME=CHANNEL: the channel with the nuclei")
        )
    if len(facts.channels) > 1:
        others = [name for name in facts.channels if name != facts.nuclei]
        every = (nuclei, *(f"{_word(name, facts)}={name}" for name in others))
        lines.append(SettingLine("image_channels", every, "or all of them", used=False))
    if facts.planes > 1:
        why = f"one image of {facts.planes} planes; mean, sharpest, or z = 0 for one of them"
        lines.append(SettingLine("projection", "max", why))
    plate = _is_screen(facts)
    corrected = plate or facts.frames > 2
    why = "BaSiC" if corrected else "too few images of a plate to learn the light from"
    lines.append(SettingLine("perform_illumination_correction", corrected, why))
    lines.append(
        SettingLine(
            "illumination_context", "plate" if plate else "frames",
            "learnt for each plate (plate), movie, or from three frames (frames)", used=corrected,
        )
    )  # fmt: skip
    return lines


def _is_screen(facts: ImageFacts) -> bool:
    """Return whether plates have enough images to learn from them what is done once for each."""
    return facts.images / facts.plates >= _FOR_A_PLATE


def _nuclei(facts: ImageFacts) -> list[SettingLine]:
    diameter = (
        SettingLine("diameter", "plate", "estimated once for each; a number of px; 0: every frame")
        if _is_screen(facts)
        else SettingLine("diameter", 0, "of a nucleus in px; 0: estimated for every frame")
    )
    return [
        SettingLine("model_type", "idrstream-nuclei", "ships; or a Cellpose name or model file"),
        diameter,
        SettingLine("remove_edge_masks", True, "leave out nuclei at the border"),
        SettingLine("cells", "expand", "also cells and cytoplasm around the nuclei", used=False),
    ]


def _features(facts: ImageFacts) -> list[SettingLine]:
    lines = [SettingLine("engine", "torch", "DeepProfiler's network, of the channel DNA")]
    if len(facts.channels) > 1:
        why = "and CellProfiler's measurements, of all image_channels"
        lines.append(SettingLine("engines", ("torch", "classical"), why, used=False))
    return lines


def _word(name: str, facts: ImageFacts) -> str:
    """Return what a channel can be called in the settings."""
    return re.sub(r"\W+", "_", name) if facts.channels_named else f"channel{name}"


def _on_this_machine(row: pd.Series) -> Path | None:
    """Return the file of a row if it is one on this machine."""
    text = row.get("URL", "") or row.get("Path", "")
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    path = Path(text).expanduser()
    return path if "://" not in text and path.is_absolute() and path.is_file() else None


def _of_file(path: Path, planes: int, frames: int) -> tuple[list[str], bool, int, int]:
    """Return channels, whether they have names, planes and frames of a file, where it tells."""
    from idrstream.formats.make import make_reader

    try:
        reader = make_reader("auto", z=0)  # the first plane of however many
        sizes, info = reader.sizes(path), reader.info(path)
    except IdrStreamError:  # the plan opens it again and says what is wrong
        return [], False, planes, frames
    names = list(info.channels)
    if len(names) != sizes.n_channels or len(set(names)) < len(names):
        names = [str(number) for number in range(sizes.n_channels)]
    named = names == list(info.channels)
    if sizes.n_channels == 1:
        names = []  # the only one is read, whatever its name
    return names, named, max(planes, sizes.n_planes), max(frames, info.n_frames)


def chosen_wells(table: pd.DataFrame, wells: str) -> pd.DataFrame:
    """Return the rows of some wells.

    Parameters
    ----------
    table : pandas.DataFrame
        A table to process.
    wells : str
        ``all``; ``controls``: those that the column Control Type names as a control; or names
        separated by commas, ``A1,B2``.

    Raises
    ------
    TableError
        If there are none; says which there are.
    """
    wanted = [part.strip().upper() for part in wells.split(",") if part.strip()]
    if wells.strip().lower() == "all":
        return table
    if wells.strip().lower() == "controls":
        if CONTROL not in table.columns:
            msg = f"no column {CONTROL!r} says which wells are controls; name wells: --wells A1,B2"
            raise TableError(msg)
        found = table[table[CONTROL].str.contains("control", case=False, regex=False)]
        if found.empty:
            values = ", ".join(sorted(set(table[CONTROL]) - {""})[:5]) or "nothing"
            raise TableError(f"no well is a control: {CONTROL!r} has {values}; name wells instead")
        return found.reset_index(drop=True)
    known = table[WELL].str.upper()
    missing = [name for name in wanted if name not in set(known)]
    if missing or not wanted:
        some = ", ".join(dict.fromkeys(known.head(200)))
        msg = f"the table has no well {', '.join(missing) or repr(wells)}; it has {some[:120]}"
        raise TableError(msg)
    return table[known.isin(wanted)].reset_index(drop=True)
