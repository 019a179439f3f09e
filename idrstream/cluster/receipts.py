"""Attempts in the inbox: what a worker made of a batch or a plate, with a receipt.

An attempt is a folder ``inbox/<batch>-<uuid>`` (``inbox/plate-<uuid>`` for the illumination of a
plate) with the files of the batch, named as in the output folder, and ``receipt.json``. It is put
together in the worker's own folder, flushed, and moved into the inbox by one rename: an attempt in
the inbox is complete. Two of the same batch lie side by side; the coordinator takes the first.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from idrstream.compile.masks import MASKS, kept_folder
from idrstream.errors import ClusterError, StorageError
from idrstream.files import atomic_file, file_sha256, flush
from idrstream.folder.names import PLATE_MODELS, batch_number, is_note
from idrstream.opening import inside, read_regular
from idrstream.records import KeptFolder
from idrstream.screen.frames import MAX_FRAMES
from idrstream.text import parse_json
from idrstream.track.batch import TRACKS

RECEIPT = "receipt.json"
FORMAT, VERSION = "idrstream-receipt", 1
_MOST_BYTES = 1 << 26
_ATTEMPT = re.compile(r"(?:plate|[0-9]{1,18})-[0-9a-f]{32}")
_OF_BATCH = re.compile(r"batch_([0-9]{1,18})(?:\..*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedPart:
    """A skipped frame of an image, or the whole image; see `idrstream.records.Skipped`."""

    frame: int | None
    stage: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReceipt:
    """What became of an image; `length` is its last frame, where the table asks for all of them."""

    nuclei: int = 0
    bytes: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    skipped: tuple[SkippedPart, ...] = ()
    length: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a worker says of an attempt.

    Attributes
    ----------
    batch : int
        Number of the batch; -1 for a plate.
    plate : str
        Plate whose illumination was fitted.
    key : str
        Digest of what the batch is; see `batch_key`.
    files : Mapping[str, str]
        SHA-256 of each file, by its name in the output folder.
    table : str
        Name of the table; empty if the batch failed.
    rows, columns, columns_sha256 : int, int, str
        Of the table; see `Published`.
    images : tuple of ImageReceipt
        The images of the batch, in order.
    seconds : Mapping[str, float]
        Time in each stage.
    error_kind, error : str
        Why there is no table, or no model of the plate.
    worker, host, job : str
        Who did it.
    begun, ended : float
        When, in seconds since 1970.
    loading_s : float
        How long the worker took to make and load its components, once.
    peak_bytes : int
        Largest memory of the worker so far.
    versions : Mapping[str, str]
        Versions of what computed it.
    """

    batch: int = -1
    plate: str = ""
    key: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    table: str = ""
    rows: int = 0
    columns: int = 0
    columns_sha256: str = ""
    images: tuple[ImageReceipt, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    error_kind: str = ""
    error: str = ""
    worker: str = ""
    host: str = ""
    job: str = ""
    begun: float = 0.0
    ended: float = 0.0
    loading_s: float = 0.0
    peak_bytes: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    format: str = FORMAT
    version: int = VERSION


def own_items(output: Path, number: int) -> Iterator[Path]:
    """Yield files and folders of a batch in a worker's output folder, but no pictures."""
    for path in (*output.glob("batch_*"), *output.glob("*/batch_*")):
        match = _OF_BATCH.fullmatch(path.name)
        if match and int(match[1]) == number:
            yield path


def deliver(attempt: Path, inbox: Path, receipt: Receipt) -> Path:
    """Move an attempt whose files are flushed into the inbox; return where it is.

    Parameters
    ----------
    attempt : Path
        Folder with the files of the attempt, on the file system of the inbox.
    inbox : Path
        The inbox.
    receipt : Receipt
        Its receipt; digests of the files are added.

    Raises
    ------
    StorageError
        If something cannot be written.
    """
    content = asdict(receipt)
    name = f"{'plate' if receipt.batch < 0 else receipt.batch}-{uuid.uuid4().hex}"
    try:
        files = {path.relative_to(attempt).as_posix(): path for path in _files_below(attempt)}
        content["files"] = {name: file_sha256(path) for name, path in sorted(files.items())}
        with atomic_file(attempt / RECEIPT) as file:
            file.write(json.dumps(content).encode())
        (attempt).rename(inbox / name)
        flush(inbox)
    except OSError as error:
        msg = f"{error.filename or inbox} cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    return inbox / name


def attempts(inbox: Path) -> list[Path]:
    """Return the attempts in an inbox."""
    with suppress(FileNotFoundError), os.scandir(inbox) as found:
        return [Path(one.path) for one in found if _ATTEMPT.fullmatch(one.name)]
    return []


def read_receipt(attempt: Path) -> Receipt:
    """Return the receipt of an attempt, before its files are verified.

    Raises
    ------
    ClusterError
        If it cannot be read, or names files that are not the batch's.
    """
    try:
        if attempt.is_symlink():
            raise ValueError("it is a link")
        receipt = _parsed(parse_json(read_regular(attempt / RECEIPT, _MOST_BYTES)))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        msg = f"{attempt / RECEIPT} cannot be used: {error}"
        raise ClusterError(msg) from error
    for name in receipt.files:
        if not _belongs(name, receipt):
            msg = f"{attempt / RECEIPT} names {name}, which is no file of its batch"
            raise ClusterError(msg)
    return receipt


def verify(attempt: Path, receipt: Receipt) -> None:
    """Compare the files of an attempt with its receipt.

    Raises
    ------
    ClusterError
        If one is missing or differs, or there are others.
    """
    try:
        found = {path.relative_to(attempt).as_posix() for path in _files_below(attempt)}
        if found - {RECEIPT} != receipt.files.keys():
            raise ClusterError(f"{attempt} has other files than its receipt says")
        for name, digest in receipt.files.items():
            if file_sha256(inside(attempt, name)) != digest:
                raise ClusterError(f"{attempt / name} differs from its receipt")
    except (OSError, StorageError) as error:
        raise ClusterError(f"{attempt} cannot be read: {error}") from error


def kept_of(attempt: Path, number: int) -> dict[str, KeptFolder]:
    """Return masks and tracks of an attempt, as `Published` has them."""
    paths = {"masks": attempt / MASKS / f"batch_{number}.zarr"}
    paths["tracks"] = attempt / TRACKS / f"batch_{number}"
    return {name: kept_folder(path) for name, path in paths.items() if path.is_dir()}


def _parsed(content: Any) -> Receipt:
    images = tuple(
        ImageReceipt(
            nuclei=int(image["nuclei"]),
            bytes=None if image["bytes"] is None else int(image["bytes"]),
            seconds={str(k): float(v) for k, v in image["seconds"].items()},
            skipped=tuple(SkippedPart(**part) for part in image["skipped"]),
            length=min(int(image.get("length", 0)), MAX_FRAMES),
        )
        for image in content.pop("images")
    )
    receipt = Receipt(**content, images=images)
    if (receipt.format, receipt.version) != (FORMAT, VERSION):
        raise ValueError("it is of another version of idrstream")
    return receipt


def _belongs(name: str, receipt: Receipt) -> bool:
    """Return whether a name is that of a file of the receipt's batch or plate."""
    parts = name.split("/")
    if receipt.batch < 0:
        own = parts[-1] in {f"{receipt.plate}.npz", f"{receipt.plate}.json"}
        return parts[0] in PLATE_MODELS and own and is_note(name)
    numbers = [int(m[1]) for m in map(_OF_BATCH.fullmatch, parts[:2]) if m]
    is_own = numbers == [receipt.batch] and (batch_number(name) is not None or is_note(name))
    return is_own or (parts[0] == "pictures" and is_note(name))


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder; links are yielded, never followed."""
    for root, _, names in os.walk(folder):
        yield from (Path(root) / name for name in names)
