"""The whole job with real parts: simulated and real movies to features."""

import logging

import pandas as pd
import pytest

from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen
from idrstream.cli.main import main
from idrstream.demo import config_for
from idrstream.errors import ConfigError, StorageError, TableError
from idrstream.preprocess import BasePreprocessor
from idrstream.segment import CellPoseSegmentor

SPECS = {
    "model_type": "idrstream-nuclei",
    "channels": [0, 0],
    "diameter": 0,
    "flow_threshold": 0.8,
    "cellprob_threshold": 0,
    "remove_edge_masks": True,
}


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    spec = ScreenSpec(
        plates=1, wells_per_plate=4, frames=4, height=192, width=256, nuclei_per_frame=14,
        invalid_frames=(4,), empty_wells=("P21",), wanted_frames=(2,),
    )  # fmt: skip
    return simulate_screen(tmp_path_factory.mktemp("screen") / "mirror", spec)


def make_stream(screen, folder, **preprocess):
    stream = IdrStream("idr0013", folder / "tmp", folder / "out", log=folder / "stream.log")
    stream.init_downloader(
        make_downloader(method="local", root=screen.folder, screens_path=screen.screens_path)
    )
    stream.init_preprocessor(None, True, **preprocess)
    stream.init_segmentor(SPECS)
    stream.copy_DP_files(config_for(192, 256, folder))
    return stream


class TestBeforeTheFirstDownload:
    def test_missing_parts_are_named(self, tmp_path):
        stream = IdrStream("idr0013", tmp_path / "tmp", tmp_path / "out")
        with pytest.raises(ConfigError, match="init_downloader, init_preprocessor, init_segmentor"):
            stream.run_stream(pd.DataFrame())

    def test_a_wrong_table_is_named(self, screen, tmp_path):
        stream = make_stream(screen, tmp_path)
        with pytest.raises(TableError, match="row 1, column Frames"):
            stream.run_stream(pd.DataFrame({"Plate": ["P"], "Well": ["A1"], "Frames": ["x"]}))
        stream.close()

    def test_a_wrong_extra_column_is_named(self, screen, tmp_path):
        stream = make_stream(screen, tmp_path)
        with pytest.raises(ConfigError, match="object_boxes"):
            stream.run_stream(read_table(screen.table_path), extra_metadata=["object_boxes"])
        stream.close()

    def test_aspera_needs_its_paths(self, tmp_path):
        stream = IdrStream("idr0013", tmp_path / "tmp", tmp_path / "out")
        with pytest.raises(ConfigError, match="aspera_key_path"):
            stream.init_downloader(tmp_path / "ascp")

    def test_ready_made_parts_are_taken(self, tmp_path):
        stream = IdrStream("idr0013", tmp_path / "tmp", tmp_path / "out")
        part, preprocessor = (
            CellPoseSegmentor({"model_type": "idrstream-nuclei"}),
            BasePreprocessor(),
        )
        stream.init_preprocessor(preprocessor)
        stream.init_segmentor(part)
        assert stream.preprocessor is preprocessor
        assert stream.segmentor is part
        with pytest.raises(ConfigError, match="object cannot be used as Segmentor"):
            stream.init_segmentor(object())


@pytest.fixture(scope="module")
def done(screen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    stream = make_stream(screen, folder, illumination_context="plate")
    table = read_table(screen.table_path)
    table.loc[1, "Frames"] = "2,4,9"  # 4 is not valid, 9 is out of range
    table.loc[3, "Plate"] = "SIM9999_01"  # no such plate
    result = stream.run_stream(
        table, batch_size=2, extra_metadata="object_outlines", progress=False
    )
    stream.close()
    return folder, stream, table, result


@pytest.mark.models
class TestSimulatedScreen:
    def test_every_batch_is_published_although_images_failed(self, done):
        folder, _, _, result = done
        assert result.failed_batches == ()
        assert files_below(folder / "out")[:2] == ["batch_0.csv.gz", "batch_1.csv.gz"]
        assert [path for path in files_below(folder / "out") if ".part" in path] == []

    def test_failures_are_told_with_place_and_reason(self, done):
        _, _, _, result = done
        failures = result.failures()
        assert failures["Frame"].tolist() == [4, 9, pd.NA]
        assert failures["Stage"].tolist() == ["preprocess", "preprocess", "download"]
        assert "SIM9999_01" in failures["Reason"].iloc[2]
        assert result.rerun_call.endswith("batch_nums=[0, 1])")

    def test_the_tables_have_the_first_streams_columns(self, done):
        folder, *_ = done
        cells = pd.read_csv(folder / "out" / "batch_0.csv.gz", index_col=0)
        assert list(cells.columns[:12]) == [
            "Object_Outline", "Location_Center_X", "Location_Center_Y", "Metadata_Plate",
            "Metadata_Well", "Metadata_Site", "Metadata_Plate_Map_Name", "Metadata_DNA",
            "Metadata_Gene", "Metadata_Gene_Replicate", "Metadata_Model", "efficientnet_0",
        ]  # fmt: skip
        assert len(cells.columns) == 11 + 1280
        assert set(cells["Metadata_Well"]) == {"4_2", "15_2"}
        assert set(cells["Metadata_Plate_Map_Name"]) == {"SIM0001_01_4", "SIM0001_01_15"}
        assert cells["Metadata_DNA"].iloc[0] == "SIM0001_01/SIM0001_01_4_2.tif"
        features = cells.filter(like="efficientnet_")
        assert features.notna().all(axis=None)
        assert features.std().median() > 1e-3

    def test_a_well_without_nuclei_is_a_result(self, done):
        folder, _, _, result = done
        cells = pd.read_csv(folder / "out" / "batch_1.csv.gz", index_col=0)
        assert len(cells) == result.batches[1].nuclei == 0
        assert len(cells.columns) == 11 + 1280

    def test_nothing_of_a_batch_is_left(self, done):
        folder, *_ = done
        assert files_below(folder / "tmp") == []

    def test_the_plates_illumination_is_kept(self, done):
        folder, *_ = done
        assert "illumination/SIM0001_01.npz" in files_below(folder / "out")

    def test_the_log_reads_like_the_first_streams(self, done):
        folder, *_ = done
        log = (folder / "stream.log").read_text()
        assert " - INFO - Processing well A4 from SIM0001_01, frames [2]" in log
        assert " - WARNING - Skipped plate SIM0001_01 well A15 frame 4" in log

    def test_the_journal_has_it_all(self, done):
        _, stream, _, result = done
        status = stream.status()
        assert (status.state, status.batches_done, status.batches) == ("done", 2, 2)
        assert status.nuclei == result.nuclei
        pd.testing.assert_frame_equal(
            stream.failed()[list(result.failures().columns)], result.failures()
        )
        assert stream.verify().is_good

    def test_a_rerun_gives_the_same_bytes(self, done, screen):
        folder, _, table, result = done
        again = make_stream(screen, folder, illumination_context="plate")
        rerun = again.run_stream(
            table, 2, batch_nums=[0], extra_metadata=["object_outlines"], progress=False
        )
        again.close()
        assert rerun.batches[0].published.sha256 == result.batches[0].published.sha256


@pytest.fixture(scope="module")
def toml(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")

    def write(name, rows, size):
        table = pd.DataFrame(rows, columns=["Plate", "Well", "Frames"])
        table.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
        sized = folder / name
        sized.mkdir()
        config = config_for(*size, sized)
        path = folder / f"{name}.toml"
        path.write_text(
            f"""
            [stream]
            table = "{name}.tsv"
            tmp_dir = "{name}/tmp"
            final_data_dir = "{name}/features"
            log = "{name}/stream.log"
            [download]
            method = "local"
            root = '{shared_data / "movies"}'
            screens_path = '{shared_data / "idr" / "idr0013-screenA-plates.tsv"}'
            [profile]
            dp_config = '{config}'
            """
        )
        return path, sized / "features"

    return write


@pytest.mark.models
class TestRealMovies:
    """Three Mitocheck movies: two of 190 x 211, one of 364 x 260 pixels."""

    def test_movies_of_two_sizes(self, toml, capsys):
        rows = [
            ("LT0001_02", "A4", "1,15,30,31"),
            ("LT0001_02", "B2", "1,8"),
            ("LT0001_02", "A15", "1,2"),
            ("LT0001_02", "A5", "1"),
        ]
        path, features = toml("both", rows, (190, 211))
        assert main(["run", str(path), "--progress", "false"]) == 1
        cells = pd.read_csv(features / "batch_0.csv.gz", index_col=0)
        wells = {"4_1", "4_15", "4_30", "26_1", "15_1", "15_2"}
        assert set(cells["Metadata_Well"]) == wells
        assert cells.groupby("Metadata_Well").size().min() >= 5
        told = capsys.readouterr().out
        for reason in ("frame 31", "not valid", "00005_01.ch5", "idrstream rerun"):
            assert reason in told
        assert main(["resume", str(features)]) == 0
        assert "Nothing is left to do" in capsys.readouterr().out


def test_a_user_error_ends_with_a_sentence_and_code_2(tmp_path, capsys):
    assert main(["run", str(tmp_path / "nothing.toml")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("idrstream: there is no configuration file")
    assert "Traceback" not in told


def test_an_option_of_the_stream_can_come_from_the_environment(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("IDRSTREAM_BATCH_SIZE", "none")
    (tmp_path / "s.toml").write_text("[stream]\ntable='t'\ntmp_dir='w'\nfinal_data_dir='o'\n")
    assert main(["run", str(tmp_path / "s.toml")]) == 2
    assert "stream.batch_size" in capsys.readouterr().err


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    for command in ("demo", "simulate", "run", "status", "resume", "rerun", "verify", "evaluate"):
        assert command in told


def test_two_streams_do_not_share_a_log(tmp_path):
    first = IdrStream("idr0013", tmp_path / "a", tmp_path / "o", log=tmp_path / "a.log")
    first.close()
    second = IdrStream("idr0013", tmp_path / "b", tmp_path / "o", log=tmp_path / "b.log")
    logging.getLogger("idrstream").info("to the second")
    second.close()
    assert "to the second" not in (tmp_path / "a.log").read_text()
    assert "to the second" in (tmp_path / "b.log").read_text()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        IdrStream("idr0013", tmp_path / "file" / "tmp", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
