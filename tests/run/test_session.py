"""What a start does with a folder that exists: with real files and quick parts."""

import errno
import gzip
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

from idrstream import make_downloader
from idrstream.cli.run import summary
from idrstream.collect import CollectOptions
from idrstream.errors import (
    ConfigError,
    JournalError,
    LockedError,
    MissingToolError,
    PlanChangedError,
    ProfileError,
    StorageError,
    TableError,
)
from idrstream.files import OWN_MARK
from idrstream.folder.journal.file import open_reader
from idrstream.folder.locks import folder_lock
from idrstream.run.components import WORK
from idrstream.schedule.events import (
    BatchFinished,
    BatchPublished,
    BatchStarted,
    ImageFinished,
)


@pytest.fixture(scope="module")
def screen(quick, tmp_path_factory):
    return quick.make_screen(tmp_path_factory.mktemp("screen") / "mirror", plates=1)


@pytest.fixture
def table(quick, screen):
    return quick.table_of(screen)


@pytest.fixture
def stream(quick, screen, tmp_path):
    stream = quick.make_stream(screen, tmp_path)
    yield stream
    stream.close()


@pytest.fixture(scope="module")
def finished(quick, screen, tmp_path_factory):
    """Return a folder with a finished stream of three batches of two; copy it to change it."""
    folder = tmp_path_factory.mktemp("finished")
    stream = quick.make_stream(screen, folder)
    stream.run_stream(quick.table_of(screen), 2, progress=False)
    stream.close()
    return folder


@pytest.fixture
def again(quick, screen, finished, tmp_path):
    """Return a stream like that which made a copy of the finished folder."""
    shutil.copytree(finished / "out", tmp_path / "out")
    stream = quick.make_stream(screen, tmp_path)
    yield stream
    stream.close()


def run(stream, table, batch_size=2, **options):
    result = stream.run_stream(table, batch_size, progress=False, **options)
    return [item.batch.number for item in result.batches]


def flip_a_bit(path):
    """Change a file and nothing else that a disk tells of it; return what it was."""
    times, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return content


def broken_movie(screen, table, row, folder):
    """Return a copy of the screen whose movie of a row is no movie."""
    copy = folder / "mirror"
    shutil.copytree(screen.folder, copy)
    number = int(table["Well Number"][row])
    (path,) = copy.rglob(f"{number:05d}_01.ch5")
    path.write_text("an error page")
    return copy


def stop_at(kind, count=1):
    """Return a listener that interrupts the stream at an event."""
    seen = []

    def listener(event):
        if isinstance(event, kind):
            seen.append(event)
            if len(seen) == count:
                raise KeyboardInterrupt

    return listener


class TestGoingOn:
    def test_what_is_done_is_skipped(self, again, table, caplog):
        with caplog.at_level(logging.INFO, "idrstream"):
            assert run(again, table) == []
        assert "3 batches are done and left alone (0-2)" in caplog.text
        assert again.status().state == "done"

    def test_after_an_interrupt_it_goes_on_and_gives_the_same(
        self, quick, stream, table, finished, tmp_path
    ):
        with pytest.raises(KeyboardInterrupt):
            run(stream, table, listeners=[stop_at(BatchFinished)], batches_in_flight=1)
        status = stream.status()
        assert (status.state, status.stopped_by, status.batches_done) == (
            "stopped", "interrupted", 1,
        )  # fmt: skip
        result = stream.resume(progress=False)
        assert [item.batch.number for item in result.batches] == [1, 2]
        assert quick.results(tmp_path / "out") == quick.results(finished / "out")

    @pytest.mark.parametrize("change", ["gone", "shorter", "other bytes", "touched"])
    def test_a_table_that_is_not_what_was_published_is_made_again(
        self, quick, again, table, finished, change, caplog
    ):
        path = again.final_data_dir / "batch_1.csv.gz"
        content = path.read_bytes()
        if change == "gone":
            path.unlink()
        elif change == "shorter":
            path.write_bytes(content[:-1])
        elif change == "other bytes":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        else:
            os.utime(path, ns=(5, 5))
        assert run(again, table) == ([] if change == "touched" else [1])
        assert ("Batch 1 is not done any more" in caplog.text) == (change != "touched")
        assert quick.results(again.final_data_dir) == quick.results(finished / "out")

    @pytest.mark.parametrize("how", ["verified before", "verify=True", "restored since"])
    def test_bits_that_rotted_without_a_trace_are_found(self, quick, again, finished, how):
        path = again.final_data_dir / "batch_1.csv.gz"
        before = flip_a_bit(path)
        assert again.resume(progress=False).plan.numbers == ()
        if how != "verify=True":
            assert again.verify().problems[0].file == "batch_1.csv.gz"
            assert again.status().state == "done"
        if how == "restored since":
            path.write_bytes(before)
        result = again.resume(progress=False, verify=how == "verify=True")
        assert result.plan.numbers == (() if how == "restored since" else (1,))
        assert again.verify().is_good
        assert quick.results(again.final_data_dir) == quick.results(finished / "out")

    def test_a_table_that_cannot_be_read_is_made_again(self, again, table, monkeypatch):
        def rotten(path):
            raise OSError(errno.EIO, "Input/output error", str(path))

        monkeypatch.setattr("idrstream.folder.outputs.file_sha256", rotten)
        assert run(again, table, verify=True) == [0, 1, 2]

    def test_what_a_dead_stream_left_is_deleted(self, again, table):
        out, tmp = again.final_data_dir, again.tmp_dir
        left = [
            out / ".batch_9.csv.gz.part",
            out / "illumination" / ".SIM0001_01.npz.part",
            tmp / WORK / OWN_MARK,
            tmp / WORK / "downloads" / "SIM0001_01" / "00004_01.ch5",
            tmp / WORK / "DP_project" / "inputs" / "images" / "P" / "x.tif",
        ]
        for path in left:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        run(again, table)
        assert not any(path.exists() for path in left)

    def test_a_table_in_place_that_was_not_journalled_does_not_count(self, quick, stream, table):
        def die_before_the_journal(event):
            if isinstance(event, BatchStarted):
                (stream.final_data_dir / "batch_0.csv.gz").write_bytes(b"from nowhere")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(stream, table, listeners=[die_before_the_journal])
        assert run(stream, table) == [0, 1, 2]
        assert stream.verify().is_good

    def test_new_rows_are_new_batches(self, quick, stream, table, finished):
        assert run(stream, table.iloc[:3]) == [0, 1]
        assert run(stream, table) == [2, 3]
        assert run(stream, table) == []

        def wells(folder):
            tables = [pd.read_csv(path, index_col=0) for path in folder.glob("batch_*")]
            return sorted(w for cells in tables for w in set(cells["Metadata_Well"]))

        assert wells(stream.final_data_dir) == wells(finished / "out")

    def test_a_run_of_some_batches_leaves_the_others_for_later(self, stream, table):
        assert run(stream, table, batch_nums=[1]) == [1]
        assert run(stream, table, start_batch=2) == [2]
        assert [item.batch.number for item in stream.resume(progress=False).batches] == [0]

    def test_changed_versions_are_told(self, again, table, caplog):
        with open_journal_for_writing(again.final_data_dir) as connection:
            connection.execute("UPDATE runs SET versions = json_set(versions, '$.cellpose', '2')")
        run(again, table)
        assert "cellpose changed from 2 to" in caplog.text

    def test_what_is_not_installed_is_told_before_the_first_download(
        self, stream, table, monkeypatch
    ):
        downloaded = []
        monkeypatch.setattr(stream.downloader, "download", downloaded.append)
        monkeypatch.setitem(sys.modules, "basicpy", None)
        with pytest.raises(MissingToolError, match="needs basicpy"):
            run(stream, table)
        monkeypatch.undo()
        stream.copy_DP_files(engine="deepprofiler", deepprofiler_python="/no/python")
        with pytest.raises(MissingToolError, match="not installed for /no/python"):
            run(stream, table)
        assert not downloaded

    def test_versions_in_the_engines_own_python_are_kept_and_compared(self, stream, table, caplog):
        found = {"deepprofiler": "0.5.0"}
        stream.engine.versions = lambda: found
        run(stream, table, batch_nums=[0])
        found["deepprofiler"] = "0.5.1"
        run(stream, table)
        assert "deepprofiler changed from 0.5.0 to 0.5.1" in caplog.text
        provenance = json.loads((stream.final_data_dir / "provenance.json").read_text())
        assert provenance["versions"][-1]["deepprofiler"] == "0.5.1"

    def test_left_out_rows_are_part_of_the_result(self, stream, table):
        wrong = table.iloc[[0]].assign(Frames="x")
        odd = pd.concat([table, table.iloc[[0, 1]], wrong], ignore_index=True)
        result = stream.run_stream(odd, 2, progress=False, ignore_invalid_inputs=True)
        counts = result.rows_repeated, result.rows_unusable, result.rows_left_out
        assert counts == (2, 1, 3)
        text = summary(result, stream.final_data_dir)
        assert "2 rows of the table left out: they repeat earlier ones" in text
        assert "1 row of the table left out: not usable" in text

    def test_rows_that_cannot_be_used_are_left_out_when_that_is_wanted(self, stream, table, caplog):
        table.loc[1, "Frames"] = "first"
        with pytest.raises(TableError, match="row 2, column Frames"):
            run(stream, table, batch_nums=[0])
        assert run(stream, table, batch_nums=[0], ignore_invalid_inputs=True) == [0]
        assert stream.status().images == len(table) - 1
        assert "Left out of the table: row 2, column Frames" in caplog.text


def open_journal_for_writing(folder):
    import sqlite3

    return sqlite3.connect(folder / "journal.sqlite")


class TestAnotherPlan:
    def test_is_refused_and_nothing_is_changed(self, quick, screen, again, table, tmp_path):
        before = {p: (again.final_data_dir / p).read_bytes() for p in ("batch_0.csv.gz",)}
        with pytest.raises(PlanChangedError, match=r"batch_size was 2, is 3.*--replan"):
            run(again, table, 3)
        other = quick.make_stream(screen, tmp_path, quantile=0.8)
        with pytest.raises(PlanChangedError, match=r"segmentor.quantile was 0.9, is 0.8"):
            run(other, table)
        with pytest.raises(PlanChangedError, match="no longer in the table"):
            run(again, table.iloc[1:])
        with pytest.raises(PlanChangedError, match=r"table.extra_metadata was \[\], is"):
            run(again, table, extra_metadata=["Control Type"])
        for name, content in before.items():
            assert (again.final_data_dir / name).read_bytes() == content
        other.close()

    def test_folders_and_the_log_are_not_part_of_it(self, quick, screen, again, table, tmp_path):
        moved = tmp_path / "moved"
        shutil.copytree(again.final_data_dir, moved / "out")
        stream = quick.make_stream(screen, moved, tmp=tmp_path / "other tmp")
        assert run(stream, table) == []
        stream.close()

    def test_replan_cuts_the_rest_anew(self, stream, table):
        run(stream, table, batch_nums=[0])
        assert run(stream, table, 3, replan=True) == [3, 4]
        assert run(stream, table, 3) == []
        assert [p.name for p in sorted(stream.final_data_dir.glob("batch_*"))] == [
            "batch_0.csv.gz", "batch_3.csv.gz", "batch_4.csv.gz",
        ]  # fmt: skip
        assert stream.verify().is_good
        assert [item.batch.number for item in stream.resume(progress=False).batches] == []

    def test_force_makes_the_folder_the_new_plans(self, quick, screen, again, table, tmp_path):
        other = quick.make_stream(screen, tmp_path, quantile=0.8)
        assert run(other, table, 3, force=True) == [0, 1]
        assert sorted(p.name for p in other.final_data_dir.glob("batch_*")) == [
            "batch_0.csv.gz", "batch_1.csv.gz",
        ]  # fmt: skip
        assert other.verify().is_good
        other.close()

    def test_force_keeps_what_fits(self, again, table):
        kept = (again.final_data_dir / "batch_0.csv.gz").stat().st_mtime_ns
        assert run(again, table.iloc[:3], force=True) == [1]
        assert (again.final_data_dir / "batch_0.csv.gz").stat().st_mtime_ns == kept
        assert not (again.final_data_dir / "batch_2.csv.gz").exists()

    def test_tables_without_a_journal_are_not_overwritten(self, stream, table):
        old = stream.final_data_dir / "batch_0.csv.gz"
        old.write_bytes(b"of the first IDR_stream")
        with pytest.raises(PlanChangedError, match=r"no journal knows \(batch_0.csv.gz\)"):
            run(stream, table)
        assert [p.name for p in stream.final_data_dir.iterdir()] == [old.name]
        assert run(stream, table, force=True) == [0, 1, 2]

    def test_force_recompute_gives_the_same_bytes(self, quick, again, table, finished):
        assert run(again, table, force_recompute=True, batch_nums=[1]) == [1]
        assert quick.results(again.final_data_dir) == quick.results(finished / "out")


class TestFailures:
    @pytest.fixture
    def hurt(self, quick, screen, table, tmp_path):
        """Return a stream whose third movie was broken when it ran, and is whole now."""
        stream = quick.make_stream(screen, tmp_path, plate_model=False)
        mirror = broken_movie(screen, table, 2, tmp_path)
        whole = stream.downloader
        stream.init_downloader(
            make_downloader(method="local", root=mirror, screens_path=screen.screens_path)
        )
        run(stream, table)
        stream.init_downloader(whole)
        yield stream
        stream.close()

    def test_are_listed_until_they_are_mended(self, hurt, quick, screen, table, tmp_path):
        failed = hurt.failed()
        assert failed[["Batch", "Plate", "Well", "Stage"]].to_numpy().tolist() == [
            [1, "SIM0001_01", table["Well"][2], "download"]
        ]
        kind = failed["Kind"][0]
        assert hurt.status().failures == {kind: 1}
        assert len(hurt.failed("NoSuchError")) == 0
        assert hurt.failed(kind).equals(failed)
        assert failed["Log"][0] == str(hurt.log_path.absolute())
        assert run(hurt, table) == []  # published: only on demand
        assert [item.batch.number for item in hurt.rerun_failed("OtherError").batches] == []
        result = hurt.rerun_failed(kind, progress=False)
        assert [item.batch.number for item in result.batches] == [1]
        assert len(hurt.failed()) == 0
        never = quick.make_stream(screen, tmp_path / "never hurt", plate_model=False)
        run(never, table)
        never.close()
        assert quick.results(hurt.final_data_dir) == quick.results(never.final_data_dir)

    @pytest.mark.parametrize("rows", [(2, 3), (0, 1, 2, 3, 4, 5)])
    @pytest.mark.parametrize("plate_model", [True, False])
    @pytest.mark.parametrize("output_format", ["csv.gz", "parquet"])
    def test_movies_that_the_source_does_not_have_are_a_result(
        self, quick, screen, table, tmp_path, rows, plate_model, output_format
    ):
        mirror = tmp_path / "mirror"
        shutil.copytree(screen.folder, mirror)
        for number in table["Well Number"].iloc[list(rows)]:
            next(mirror.rglob(f"{int(number):05d}_01.ch5")).unlink()
        stream = quick.make_stream(screen, tmp_path, plate_model=plate_model)
        whole = stream.downloader
        stream.init_downloader(
            make_downloader(method="local", root=mirror, screens_path=screen.screens_path)
        )
        result = stream.run_stream(table, 2, output_format=output_format, progress=False)
        assert result.missing_images == len(rows)
        assert f"{len(rows)} images not at the source" in summary(result, stream.final_data_dir)
        status = stream.status()
        assert (status.state, status.images_failed) == ("done", len(rows))
        assert set(stream.failed()["Kind"]) == {"RemoteFileNotFoundError"}
        assert stream.verify().is_good
        made = stream.collect(options=CollectOptions(normalize="none"))
        assert made.record["source"]["missing_batches"] == []
        assert len(made.record["source"]["left_out"]) == len(rows)
        assert made.record["profiles"]["wells"] == 6 - len(rows)
        assert stream.resume(progress=False).plan.numbers == ()
        stream.init_downloader(whole)
        stream.rerun_failed(progress=False)
        assert len(stream.failed()) == 0
        stream.close()

    def test_a_rerun_never_loses_images(self, hurt, quick, screen, table, tmp_path):
        before = quick.results(hurt.final_data_dir)
        worse = broken_movie(screen, table, 3, tmp_path / "worse")
        hurt.init_downloader(
            make_downloader(method="local", root=worse, screens_path=screen.screens_path)
        )
        result = hurt.rerun([1], progress=False)
        assert result.failed_batches == (1,)
        assert "earlier table is kept" in result.failures()["Reason"].iloc[-1]
        assert quick.results(hurt.final_data_dir) == before
        assert hurt.status().batches_done == 3
        assert set(hurt.failed()["Stage"]) == {"download", "batch"}
        assert hurt.rerun([1], progress=False).failed_batches == (1,)

    def test_failed_batches_are_tried_again_unless_they_are_to_be_left(self, stream, table):
        profile, calls = stream.engine.profile, []

        def fail_once(frames, objects):
            calls.append(1)
            if len(calls) == 1:
                raise ProfileError("no")
            return profile(frames, objects)

        stream.engine.profile = fail_once
        run(stream, table)
        assert stream.failed()["Kind"].tolist() == ["ProfileError"]
        assert run(stream, table, ignore_failed_outputs=True) == []
        assert stream.status().batches_failed == 1
        assert run(stream, table) == [0]

    def test_naming_a_batch_that_is_done_does_nothing(self, again):
        assert again.rerun([0, 2], progress=False).batches == ()
        result = again.rerun([2], force_recompute=True, progress=False)
        assert [item.batch.number for item in result.batches] == [2]


class TestPublish:
    @pytest.mark.parametrize("damage", ["row", "feature", "empty"])
    def test_an_incomplete_table_is_not_published(self, stream, table, monkeypatch, damage):
        import idrstream.run.profiling as profiling

        compiled = profiling.compile_batch

        def damaged(*args, **options):
            cells = compiled(*args, **options)
            if damage == "row":
                return cells.iloc[1:]
            if damage == "feature":
                return cells.drop(columns="efficientnet_7")
            return cells.assign(efficientnet_7=float("nan"))

        monkeypatch.setattr(profiling, "compile_batch", damaged)
        run(stream, table, batch_nums=[0])
        assert stream.failed()["Kind"].tolist() == ["CompileError"]
        assert list(stream.final_data_dir.glob("batch_*")) == []

    def test_inputs_are_deleted_only_after_the_journal_knows(self, quick, stream, table):
        seen = []

        def look(event):
            if isinstance(event, BatchPublished):
                with open_reader(stream.final_data_dir / "journal.sqlite") as journal:
                    state = journal.execute(
                        "SELECT state FROM batches WHERE number = ?", (event.batch.number,)
                    ).fetchone()
                there = any(
                    "/inputs/locations/" in name for name in quick.files_below(stream.tmp_dir)
                )
                seen.append((*state, event.published.path.exists(), there))

        run(stream, table, listeners=[look], batches_in_flight=1)
        assert seen == [("done", True, True)] * 3


class TestLocks:
    def test_a_second_stream_in_either_folder_is_refused(self, quick, screen, again, table):
        for folder, role in ((again.final_data_dir, "final_data_dir"), (again.tmp_dir, "tmp_dir")):
            with (
                folder_lock(folder, role),
                pytest.raises(LockedError, match=f"{role} .* in use by this process"),
            ):
                run(again, table)
        assert run(again, table) == []

    def test_status_says_who_runs_it(self, stream, table):
        seen = []

        def look(event):
            if isinstance(event, ImageFinished):
                seen.append(stream.status())

        run(stream, table, listeners=[look], batches_in_flight=1)
        assert seen[0].state == "running"
        assert seen[0].holder.pid == os.getpid()
        assert "(this process, since" in repr(seen[0])
        assert (seen[0].batches_running, seen[-1].batches_done) == (1, 2)

    def test_one_stream_for_each_gpu_unless_told_otherwise(
        self, quick, screen, table, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        at_work, go_on = threading.Event(), threading.Event()
        streams = [quick.make_stream(screen, tmp_path / name) for name in "ab"]
        for stream in streams:
            stream.segmentor.gpus = lambda: ["cuda:0"]
            stream.engine.gpus = lambda: ["cuda"]

        def hold(event):
            if isinstance(event, BatchStarted):
                at_work.set()
                go_on.wait(60)

        first = threading.Thread(target=run, args=(streams[0], table), kwargs={"listeners": [hold]})
        first.start()
        assert at_work.wait(60)
        try:
            with pytest.raises(LockedError, match=r"GPU cuda.* is in use by this .*share_gpu"):
                run(streams[1], table)
            assert run(streams[1], table, share_gpu=True) == [0, 1, 2]
        finally:
            go_on.set()
            first.join()
            for stream in streams:
                stream.close()


class TestVerify:
    def test_a_good_folder(self, again):
        found = again.verify()
        assert found.is_good
        assert (found.batches, found.verified, found.left) == (3, 3, ())
        assert "3 of 3 batches verified" in str(found)

    def test_what_is_wrong_is_named(self, again):
        out = again.final_data_dir
        (out / "batch_0.csv.gz").unlink()
        content = (out / "batch_1.csv.gz").read_bytes()
        (out / "batch_1.csv.gz").write_bytes(content[:-1] + b"x")
        (out / "batch_2.csv.gz").write_bytes(content[:-1])
        (out / "batch_7.csv.gz").touch()
        (out / ".batch_8.csv.gz.part").touch()
        (out / "notes.txt").touch()
        found = again.verify()
        assert {(p.file, p.kind) for p in found.problems} == {
            ("batch_0.csv.gz", "missing"),
            ("batch_1.csv.gz", "changed"),
            ("batch_2.csv.gz", "changed"),
            ("batch_7.csv.gz", "stray"),
            (".batch_8.csv.gz.part", "stray"),
        }
        assert found.others == ("notes.txt",)
        assert "1 file not of the stream: notes.txt" in str(found)
        quick_look = {p.file for p in again.verify(quick=True).problems}
        assert "batch_1.csv.gz" not in quick_look
        assert "batch_2.csv.gz" in quick_look

    @pytest.mark.parametrize("damage", ["row", "column"])
    def test_rows_and_columns_are_counted(self, again, damage):
        import hashlib

        path = again.final_data_dir / "batch_1.csv.gz"
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        if damage == "row":
            del lines[-1]
        else:
            lines[0] = lines[0].replace("efficientnet_3", "efficientnet_x")
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        with open_journal_for_writing(again.final_data_dir) as connection:
            connection.execute(
                "UPDATE batches SET sha256 = ?, size_bytes = ? WHERE number = 1",
                (sha256, path.stat().st_size),
            )
        found = again.verify()
        assert ([item.kind for item in found.problems], found.is_good) == (["incomplete"], False)
        assert "idrstream resume --verify" in str(found)
        assert again.resume(progress=False).plan.numbers == (1,)
        assert again.verify().is_good

    def test_a_read_only_folder_is_verified_and_left_as_it_is(self, again, monkeypatch):
        journal = again.final_data_dir / "journal.sqlite"
        flip_a_bit(again.final_data_dir / "batch_1.csv.gz")
        before = journal.read_bytes()

        def refused(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr("idrstream.folder.locks._open", refused)
        assert [item.kind for item in again.verify().problems] == ["changed"]
        assert journal.read_bytes() == before

    @pytest.mark.parametrize("name", ["notes.txt", "qc/notes.txt", "tables/x.csv", "cells/a.txt"])
    def test_a_foreign_file_is_not_good(self, again, name):
        path = again.final_data_dir / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        found = again.verify()
        assert (found.is_good, found.problems, found.others) == (False, (), (name,))

    @pytest.mark.parametrize("name", ["detached.log", ".idrstream.live.json", "report.html"])
    def test_a_file_of_the_streams_own_is_good(self, again, name):
        (again.final_data_dir / name).touch()
        assert again.verify().is_good

    def test_parquet_is_proven_too(self, stream, table):
        run(stream, table, output_format="parquet")
        found = stream.verify()
        assert found.is_good
        assert found.rows == stream.status().nuclei

    def test_what_is_left_is_not_good(self, stream, table):
        run(stream, table, batch_nums=[1])
        found = stream.verify()
        assert (found.is_good, found.left, found.problems) == (False, (0, 2), ())


class TestFoldersWithoutAStream:
    @pytest.mark.parametrize("verb", ["status", "failed", "verify", "resume", "rerun_failed"])
    def test_are_told(self, stream, verb):
        with pytest.raises(JournalError, match="not the output folder of a stream"):
            getattr(stream, verb)()

    def test_a_read_only_output_folder_is_told(self, again, table, monkeypatch):
        real = os.open

        def refuse(path, flags, *rest, **more):  # root may write everywhere
            if str(path).startswith(str(again.final_data_dir)) and flags & os.O_CREAT:
                raise OSError(30, "Read-only file system", str(path))
            return real(path, flags, *rest, **more)

        monkeypatch.setattr("idrstream.folder.locks.os.open", refuse)
        with pytest.raises(StorageError, match="Read-only file system"):
            run(again, table)


class TestCommands:
    @pytest.fixture
    def idrstream(self, capsys):
        from idrstream.cli.main import main

        def call(*words):
            code = main([str(word) for word in words])
            return code, capsys.readouterr()

        return call

    def test_status(self, idrstream, finished):
        code, told = idrstream("status", finished / "out")
        assert code == 0
        assert "3 of 3 done" in told.out
        code, told = idrstream("status", finished / "out", "--json", "--failures")
        content = json.loads(told.out)
        assert (content["state"], content["batches_done"], content["failed"]) == ("done", 3, [])

    def test_verify(self, idrstream, finished, again):
        assert idrstream("verify", finished / "out")[0] == 0
        (again.final_data_dir / "batch_0.csv.gz").unlink()
        code, told = idrstream("verify", again.final_data_dir, "--json")
        assert code == 1
        assert json.loads(told.out)["problems"][0]["file"] == "batch_0.csv.gz"

    @pytest.mark.parametrize("verb", ["resume", "rerun"])
    def test_a_stream_of_objects_is_resumed_where_they_are(self, idrstream, finished, verb):
        code, told = idrstream(verb, finished / "out")
        assert code == 2
        assert "built in Python" in told.err

    @pytest.mark.parametrize("verb", ["status", "resume", "rerun", "verify"])
    def test_a_folder_without_a_journal_is_told(self, idrstream, tmp_path, verb):
        code, told = idrstream(verb, tmp_path)
        assert code == 8
        assert "not the output folder of a stream" in told.err


SECOND = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import quick_parts
from idrstream.errors import LockedError
from idrstream.simulate import SimulatedScreen
from idrstream import make_downloader, read_table
folder, mirror = Path(sys.argv[2]), Path(sys.argv[3])
class Screen: pass
screen = Screen()
screen.folder = mirror
screen.screens_path = mirror / "idr0013-screenA-plates.tsv"
stream = quick_parts.make_stream(screen, folder)
try:
    result = stream.run_stream(read_table(mirror / "data_to_process.tsv"), 1, progress=False)
    print("ran", len(result.batches))
except LockedError as error:
    print("locked", error)
"""


def test_of_two_processes_that_race_one_runs(quick, screen, tmp_path, finished):
    words = [sys.executable, "-c", SECOND, str(Path(quick.__file__).parent), str(tmp_path)]
    racers = [
        subprocess.Popen([*words, str(screen.folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = sorted(racer.communicate(timeout=120)[0] for racer in racers)
    # The later one was refused, or came when all was done.
    assert told[1] == "ran 6\n"
    assert told[0].startswith("locked final_data_dir") or told[0] == "ran 0\n"
    with open_reader(tmp_path / "out" / "journal.sqlite") as journal:
        assert journal.execute("SELECT DISTINCT attempt FROM attempts").fetchall() == [(1,)]


def test_resume_wants_a_stream_with_parts(tmp_path, finished):
    from idrstream import IdrStream

    shutil.copytree(finished / "out", tmp_path / "out")
    stream = IdrStream("idr0013", tmp_path / "tmp", tmp_path / "out")
    with pytest.raises(ConfigError, match="call init_downloader"):
        stream.resume()
