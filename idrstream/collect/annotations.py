"""Metadata of images and wells from the table, as columns of profiles."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from idrstream.collect.source import WellKey
from idrstream.compile.names import output_names
from idrstream.errors import CollectError
from idrstream.records import ImageTask
from idrstream.redact import redact
from idrstream.screen.columns import TILE

if TYPE_CHECKING:
    import pandas as pd

# Addresses of files: no property of a well, and may contain credentials.
_ADDRESSES = frozenset({"Path", "URL", "DNA", "Plate_Map_Name", TILE})

ALL_FRAMES = 0


@dataclass(frozen=True, slots=True)
class Annotations:
    """Metadata of images and wells.

    Attributes
    ----------
    images : dict
        Values of `columns` by plate, well number, site and frame; `ALL_FRAMES` where the table
        asks for as many as the movie has.
    columns : tuple of str
        Names in the collection, with ``Metadata_``; the first is the well's name.
    sources : tuple of str
        The same columns as the table calls them; empty for the well's name.
    """

    images: dict[tuple[str, int, int, int], tuple[str, ...]]
    columns: tuple[str, ...]
    sources: tuple[str, ...]

    @classmethod
    def of(cls, tasks: Sequence[ImageTask]) -> Annotations:
        """Return the metadata of the tasks of a table."""
        names = dict.fromkeys(name for task in tasks for name in task.metadata)
        used = [name for name in names if name not in _ADDRESSES]
        images: dict[tuple[str, int, int, int], tuple[str, ...]] = {}
        for task in tasks:
            values = (task.well, *(redact(str(task.metadata.get(name, ""))) for name in used))
            for frame in task.frames or (ALL_FRAMES,):
                images[(task.plate, task.well_number, task.site, frame)] = values
        called = output_names(used)
        return cls(images, ("Metadata_Well", *(called[name] for name in used)), ("", *used))

    def annotated(self, table: Any, batch: int) -> Any:
        """Return a published table with well and frame as numbers and the metadata columns.

        Raises
        ------
        CollectError
            If it has an image that is not in the table to process.
        """
        import pyarrow as pa

        keys = [
            (plate, *_well_and_frame(well, plate, site))
            for plate, well, site in zip(
                *(table[f"Metadata_{name}"].to_pylist() for name in ("Plate", "Well", "Site")),
                strict=True,
            )
        ]
        whole = {key: (*key[:3], ALL_FRAMES) for key in set(keys) - self.images.keys()}
        unknown = sorted(key for key, of_movie in whole.items() if of_movie not in self.images)
        if unknown:
            plate, well, site, frame = unknown[0]
            msg = (
                f"batch {batch} has nuclei of plate {plate}, well {well}, site {site}, frame "
                f"{frame}, which is not in the folder's copy of the table"
            )
            raise CollectError(msg)
        made = {
            "Metadata_Plate": table["Metadata_Plate"],
            "Metadata_Well_Number": pa.array([key[1] for key in keys], pa.int32()),
            "Metadata_Site": pa.array([key[2] for key in keys], pa.int32()),
            "Metadata_Frame": pa.array([key[3] for key in keys], pa.int32()),
            "Metadata_Stream_Batch": pa.array([batch] * len(keys), pa.int32()),
        }
        values = [self.images[whole.get(key, key)] for key in keys]
        for at, name in enumerate(self.columns):
            made[name] = pa.array([value[at] for value in values], pa.string())
        others = {name: table[name] for name in table.column_names if name not in made}
        return pa.table({**made, **others}).replace_schema_metadata(None)

    def varying(self) -> dict[str, str]:
        """Return the columns that differ between images of a well, and where and how they do."""
        images: dict[WellKey, tuple[str, ...]] = {}
        differing: dict[str, str] = {}
        for (plate, number, _, _), values in self.images.items():
            first = images.setdefault((plate, number), values)
            if first is values or first == values:
                continue
            for name, one, other in zip(self.columns[1:], first[1:], values[1:], strict=True):
                if one != other:
                    example = f"plate {plate} well {first[0]}: {one!r} and {other!r}"
                    differing.setdefault(name, example)
        return {name: differing[name] for name in self.columns[1:] if name in differing}

    def platemaps(self, left_out: Collection[str]) -> dict[str, pd.DataFrame]:
        """Return the wells of every plate, one row per well, by number.

        Parameters
        ----------
        left_out : collection of str
            Columns to leave out.
        """
        import pandas as pd

        wells: dict[str, dict[int, tuple[str, ...]]] = {}
        for (plate, number, _, _), values in self.images.items():
            wells.setdefault(plate, {}).setdefault(number, values)
        kept = [at for at, name in enumerate(self.columns) if name not in left_out]
        names = ["Metadata_Plate", "Metadata_Well_Number", *(self.columns[at] for at in kept)]
        return {
            plate: pd.DataFrame(
                [(plate, number, *(rows[number][at] for at in kept)) for number in sorted(rows)],
                columns=names,
            )
            for plate, rows in wells.items()
        }


def _well_and_frame(well: str, plate: str, site: str) -> tuple[int, int, int]:
    """Return well number, site and frame of a published row."""
    try:
        number, frame = well.split("_")
        return int(number), int(site), int(frame)
    except ValueError:
        msg = f"Metadata_Well is {well!r} on plate {plate}: it should be <well number>_<frame>"
        raise CollectError(msg) from None
