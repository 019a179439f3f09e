"""Frames, objects and features as arrays of an ``.npz`` file, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from idrstream.records import Features, Frame, ImageTask, Objects, RawFrameQuality

Arrays = Mapping[str, Any]


def pack_frame(frame: Frame) -> dict[str, Any]:
    """Return a frame as arrays."""
    return {
        "pixels": frame.pixels,
        "number": np.array(frame.number),
        "channels": np.array(frame.channels),
        "saturated": np.array([raw.saturated for raw in frame.raw]),
        "shading": np.array([raw.shading for raw in frame.raw]),
        "sources": np.array([raw.source for raw in frame.raw], dtype=np.str_),
    }


def unpack_frame(arrays: Arrays, task: ImageTask) -> Frame:
    """Return the frame of an image."""
    raw = zip(arrays["saturated"], arrays["shading"], arrays["sources"], strict=True)
    number = int(arrays["number"])
    return Frame(
        arrays["pixels"],
        number,
        replace(task, frames=(number,), every=0),
        tuple(RawFrameQuality(float(share), tiles, str(source)) for share, tiles, source in raw),
        tuple(map(str, arrays["channels"])),
    )


def pack_objects(objects: Objects) -> dict[str, Any]:
    """Return the objects of a frame, of all kinds, as arrays."""
    packed: dict[str, Any] = {"kinds": np.array(len(objects.kinds))}
    for at, of in enumerate(objects.kinds):
        said = {
            "name": of.name,
            "diameter_px": float(of.diameter_px),
            "channel": of.channel,
            "match_counts": dict(of.match_counts),
        }
        packed |= {
            f"said{at}": np.array(json.dumps(said)),
            f"labels{at}": of.labels,
            f"table{at}": of.table,
        }
        if of.children is not None:
            packed[f"children{at}"] = of.children
        if of.outlines is not None:
            points = [np.zeros((0, 2), np.int64), *of.outlines]
            packed[f"points{at}"] = np.concatenate(points)
            packed[f"ends{at}"] = np.cumsum([len(one) for one in of.outlines], dtype=np.int64)
    return packed


def unpack_objects(arrays: Arrays) -> Objects:
    """Return the objects of a frame."""
    first, *others = (_kind(arrays, at) for at in range(int(arrays["kinds"])))
    return replace(first, related=tuple(others))


def _kind(arrays: Arrays, at: int) -> Objects:
    outlines = None
    if f"ends{at}" in arrays:
        ends = arrays[f"ends{at}"]
        outlines = tuple(np.split(arrays[f"points{at}"], ends[:-1])) if len(ends) else ()
    return Objects(
        labels=arrays[f"labels{at}"],
        table=arrays[f"table{at}"],
        outlines=outlines,
        children=arrays.get(f"children{at}"),
        **json.loads(str(arrays[f"said{at}"])),
    )


def pack_features(features: Features) -> dict[str, Any]:
    """Return the features of a frame as arrays."""
    return {
        "object": np.array(features.object),
        "columns": np.array(features.columns, dtype=np.str_),
        "values": features.values,
    }


def unpack_features(arrays: Arrays) -> Features:
    """Return the features of a frame."""
    columns = tuple(map(str, arrays["columns"]))
    return Features(str(arrays["object"]), columns, arrays["values"])
