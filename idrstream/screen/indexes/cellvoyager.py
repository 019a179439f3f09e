"""``.wpi`` of Yokogawa's CellVoyager (CV7000, CV8000, CQ1) with ``MeasurementData.mlf``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from idrstream.screen.indexes.records import (
    Beside,
    ImageFile,
    PlateIndex,
    make_index,
    relative_path,
    whole,
)
from idrstream.screen.indexes.xml import elements
from idrstream.text import counted

_DATA, _DETAIL = "MeasurementData.mlf", "MeasurementDetail.mrf"


def read_cellvoyager(content: bytes, beside: Beside | None = None) -> PlateIndex:
    """Return what a ``.wpi`` and the ``MeasurementData.mlf`` beside it say.

    Each ``MeasurementRecord`` of type ``IMG`` is an image: ``Row`` and ``Column`` from 1,
    ``FieldIndex``, ``ZIndex``, ``TimePoint``, ``Ch``; its text is the file. Records of errors have
    none. Names of channels come from the ``.mes`` that ``MeasurementDetail.mrf`` names, if it is
    there.

    Raises
    ------
    ValueError
        If it is no such index, or ``MeasurementData.mlf`` is missing or wrong.
    """
    columns = 0
    for element in elements(content, {"WellPlate"}):
        columns = whole(element.get("Columns"), "Columns", least=1)
    data = None if beside is None else beside.read(_DATA)
    if data is None:
        msg = f"{_DATA}, which lists its images, is not beside it"
        raise ValueError(msg)
    errors: list[str] = []
    try:
        files = list(_images(data, errors))
    except ValueError as error:
        msg = f"{_DATA} beside it cannot be read: {error}"
        raise ValueError(msg) from error
    notes = [f"{counted(len(errors), 'image')} not taken"] if errors else []
    return make_index(files, _channels(beside), columns=columns, notes=notes)


def _images(data: bytes, errors: list[str]) -> Iterator[ImageFile]:
    for record in elements(data, {"MeasurementRecord"}):
        if record.get("Type", "IMG") != "IMG" or not (record.text or "").strip():
            errors.append(record.get("Type", ""))
            continue
        row, column, field, plane, time, channel = (
            whole(record.get(key, missing), key, least=1)
            for key, missing in (
                ("Row", ""), ("Column", ""), ("FieldIndex", ""), ("ZIndex", "1"),
                ("TimePoint", "1"), ("Ch", ""),
            )
        )  # fmt: skip
        path = relative_path(record.text or "")
        yield ImageFile(row - 1, column - 1, field, channel, plane, time, path)


def _channels(beside: Beside | None) -> dict[int, str]:
    """Return the names of the channels, as far as the files beside the index have them."""
    names: dict[int, str] = {}
    detail = None if beside is None else beside.read(_DETAIL)
    if beside is None or detail is None:
        return names
    with suppress(ValueError):  # names only
        for element in elements(detail, {"MeasurementDetail"}):
            settings = beside.read(relative_path(element.get("MeasurementSettingFileName", "")))
            for channel in elements(settings or b"", {"Channel"}):
                name = channel.get("Fluorophore") or channel.get("Target") or ""
                names[whole(channel.get("Ch"), "Ch")] = name
    return names
