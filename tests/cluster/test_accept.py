"""Attempts taken together: the disk is waited for once, and nothing is deleted before."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from idrstream.cluster.accept import Acceptor
from idrstream.cluster.receipts import ImageReceipt, Receipt, attempts, deliver, read_receipt
from idrstream.quality.pictures import PictureStore
from idrstream.records import Batch, ImageTask
from idrstream.schedule.events import BatchFinished, BatchPublished

TASK = ImageTask("P1", "A1", 1, (1,))


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def put(inbox, number, *, error=""):
    """Put an attempt of a batch into the inbox, or one without a table."""
    attempt = inbox.with_name(f"made-{number}")
    (attempt / "qc").mkdir(parents=True)
    (attempt / "qc" / f"batch_{number}.csv").write_bytes(b"Plate\n")
    table = "" if error else f"batch_{number}.csv.gz"
    if table:
        (attempt / table).write_bytes(f"table {number}".encode())
    receipt = Receipt(
        batch=number, table=table, images=(ImageReceipt(nuclei=number),), error=error,
        error_kind="ProfileError" if error else "",
    )  # fmt: skip
    return deliver(attempt, inbox, receipt)


def place(acceptor, inbox):
    found = [(read_receipt(attempt), attempt) for attempt in attempts(inbox)]
    found.sort(key=lambda one: one[0].batch)
    return [
        acceptor.place(Batch(receipt.batch, (TASK,)), attempt, receipt)
        for receipt, attempt in found
    ]


def make_acceptor(output, emit):
    return Acceptor(output, PictureStore(output, 0), {}, emit)


def test_the_disk_is_waited_for_once_for_all(tmp_path, inbox, monkeypatch):
    output, told, flushed = tmp_path / "out", [], []
    output.mkdir()
    for number in range(5):
        put(inbox, number, error="no nuclei" if number == 4 else "")

    def emit(event):
        told.append(event)
        return True

    acceptor = make_acceptor(output, emit)
    synced = os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda file: (flushed.append(str(Path(f"/proc/self/fd/{file}").readlink())), synced(file)),
    )
    placed = place(acceptor, inbox)
    assert flushed == []
    assert len(attempts(inbox)) == 5
    assert not [event for event in told if isinstance(event, BatchPublished)]
    finished = list(acceptor.record(placed))
    assert sorted(flushed) == [str(output), str(output / "qc")]
    published = [event for event in told if isinstance(event, BatchPublished)]
    assert [event.more for event in published] == [True, True, True, False]
    assert [event.published.sha256 for event in published] == [
        hashlib.sha256(f"table {number}".encode()).hexdigest() for number in range(4)
    ]
    assert [end for end in told if isinstance(end, BatchFinished)] == finished
    assert [end.error for end in finished] == ["", "", "", "", "no nuclei"]
    assert attempts(inbox) == []
    assert (output / "batch_3.csv.gz").read_bytes() == b"table 3"


def test_when_one_cannot_be_recorded_the_attempts_stay(tmp_path, inbox):
    output, told = tmp_path / "out", []
    output.mkdir()
    for number in range(3):
        put(inbox, number)

    def emit(event):
        told.append(event)
        return not (isinstance(event, BatchPublished) and event.batch.number == 1)

    acceptor = make_acceptor(output, emit)
    assert list(acceptor.record(place(acceptor, inbox))) == []
    assert len(attempts(inbox)) == 3  # also of batch 0: the disk was not waited for
    assert not [event for event in told if isinstance(event, BatchFinished)]
