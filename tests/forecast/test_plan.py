"""What a plan says, and that it writes nothing: real files, quick parts."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest

from idrstream import make_downloader
from idrstream.cli.main import main
from idrstream.download import as_downloader
from idrstream.errors import (
    ConfigError,
    DownloadError,
    JournalError,
    MissingToolError,
    TransientDownloadError,
)
from idrstream.folder.locks import folder_lock
from idrstream.forecast import checks
from idrstream.forecast.plan import Amount, Check, StreamPlan, TimeEstimate
from idrstream.forecast.sizes import MOST_ASKED, Share, Sizes, ask_sizes
from idrstream.forecast.work import spread
from idrstream.packages import INSTALL_ALONE
from idrstream.records import ImageTask
from idrstream.text import format_size


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


def listing(folder):
    """Return everything below a folder with size and time."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def failed(plan):
    return {check.what: check for check in plan.checks if check.state == "failed"}


class TestPlan:
    def test_says_what_is_to_do_and_writes_nothing(self, stream, table, tmp_path, screen):
        before, others = (
            listing(tmp_path),
            set(Path(tempfile.gettempdir()).glob("idrstream-plan-*")),
        )
        plan = stream.plan(table, batch_size=4, probe=2)
        assert listing(tmp_path) == before
        assert set(Path(tempfile.gettempdir()).glob("idrstream-plan-*")) <= others
        assert plan.is_good, plan
        assert (plan.images_left, plan.batches_left, plan.images_done) == (6, 2, 0)
        movies = 2 * sum(Path(path).stat().st_size for path in screen.movies)
        # One for each image, and one for each well of the illumination.
        copied = f"copied on this machine: {format_size(movies)}; whole files"
        assert str(plan.download) == f"0 bytes; {copied}"  # two frames of three are no less
        stream.downloader.fetch = "frames"
        assert "frames only, 5" in stream.plan(table).download.basis
        assert plan.time.images == 2
        assert plan.time.low_s < plan.time.seconds < plan.time.high_s
        assert set(plan.time.stages) == {"download", "preprocess", "segment", "profile", "compile"}

    def test_what_was_foretold_comes(self, stream, table, tmp_path):
        plan = stream.plan(table, batch_size=2, probe=3)
        result = stream.run_stream(table, 2, progress=False)
        size = sum(path.stat().st_size for path in (tmp_path / "out").glob("batch_*"))
        assert plan.output.bytes == pytest.approx(size, rel=0.5)
        assert plan.output.low < size < plan.output.high
        assert result.disk.peak_bytes <= plan.peak_disk.high

    def test_a_file_for_each_channel_is_no_problem(self, quick, screen, tmp_path, table):
        (tmp_path / "files").mkdir()
        names = [f"{n}.ch5" for n in range(len(table))]
        for name in names:
            shutil.copy(screen.movies[0], tmp_path / "files" / name)
        table = table.assign(**{"Path DNA": names, "Path ER": names})
        stream = quick.make_stream(screen, tmp_path)
        stream.init_downloader(make_downloader(method="local", root=tmp_path / "files"))
        stream.init_preprocessor(image_channels=("DNA", "ER"))
        plan = stream.plan(table)
        assert plan.is_good, plan
        stream.close()

    def test_knows_what_is_done_by_content(self, stream, table, tmp_path):
        stream.run_stream(table, 2, batch_nums=[0, 2], progress=False)
        before = listing(tmp_path)
        plan = stream.plan()
        assert listing(tmp_path) == before
        assert (plan.images_done, plan.batches_done, plan.images_left) == (4, 2, 2)
        (tmp_path / "out" / "batch_2.csv.gz").unlink()
        assert stream.plan(table, batch_size=2).images_left == 4
        grown = pd.concat([table, table.iloc[:1].assign(Frames="3")])
        assert stream.plan(grown, batch_size=2).images_left == 5
        plan = stream.plan(table, batch_size=3)
        assert "batch_size was 2, is 3" in failed(plan)["output folder"].detail
        assert not plan.is_good

    def test_says_what_stands_in_the_way(self, quick, stream, table, tmp_path, screen):
        assert "row 1, column Frames" in (
            failed(stream.plan(table.assign(Frames="x")))["table and options"].detail
        )
        with folder_lock(tmp_path / "tmp", "tmp_dir"):
            assert "in use by this process" in failed(stream.plan(table))["tmp_dir is free"].detail
        assert (
            "one batch needs"
            in failed(stream.plan(table, disk_budget="100kB"))["disk_budget"].detail
        )
        copy = tmp_path / "mirror"
        shutil.copytree(screen.folder, copy)
        next(copy.rglob("*.ch5")).unlink()
        stream.init_downloader(
            make_downloader(method="local", root=copy, screens_path=screen.screens_path)
        )
        check = failed(stream.plan(table))["movies at their source"]
        assert "1 of 6 asked do not exist" in check.detail
        assert check.remedy

    def test_a_model_that_is_missing_is_told(self, stream, table):
        class NoModel:
            def load(self):
                raise MissingToolError("there is no such model")

            def segment(self, frame):
                raise AssertionError

        stream.init_segmentor(NoModel())
        assert failed(stream.plan(table))["models load"].detail == "there is no such model"

    def test_a_package_that_is_missing_is_told(self, stream, table, monkeypatch):
        stream.init_preprocessor(perform_illumination_correction=True)
        monkeypatch.setitem(sys.modules, "basicpy", None)
        assert INSTALL_ALONE in failed(stream.plan(table))["models load"].detail
        stream.init_preprocessor(perform_illumination_correction=False)
        assert stream.plan(table).is_good
        stream.init_segmentor({"model_type": "idrstream-nuclei", "diameter": 17})
        monkeypatch.setitem(sys.modules, "cellpose", None)
        assert INSTALL_ALONE in failed(stream.plan(table))["models load"].detail

    def test_deepprofiler_that_is_missing_is_told(self, stream, table):
        stream.copy_DP_files(engine="deepprofiler", deepprofiler_python="/no/python")
        detail = failed(stream.plan(table))["models load"].detail
        assert "not installed for /no/python" in detail

    def test_a_probe_that_fails_is_told(self, stream, table):
        class Broken:
            def segment(self, frame, *, outlines=False):
                raise ValueError("it does not work")

        stream.init_segmentor(Broken())
        assert "could not be processed" in failed(stream.plan(table, probe=1))["probe"].detail

    def test_wrong_calls(self, stream, table):
        with pytest.raises(JournalError):
            stream.plan()
        with pytest.raises(ConfigError, match="bach_size: no such option"):
            stream.plan(table, bach_size=2)


class Source:
    """Tells sizes without files."""

    def __init__(self, size=lambda task: 1_000_000 + 1000 * (task.row % 7), fault=None):
        self._size, self.fault, self.asked = size, fault, []

    def size(self, task):
        self.asked.append(task.row)
        if self.fault is not None and task.row % 2:
            raise self.fault
        return self._size(task)


class OnlyDownloads:
    def download(self, task, folder):
        raise NotImplementedError


def tasks(count):
    return [ImageTask("P", "A1", row + 1, (1,), row=row) for row in range(count)]


class TestSizes:
    def test_all_are_asked_when_they_are_few(self):
        source = Source()
        sizes = ask_sizes(source, tasks(50))
        assert sorted(source.asked) == list(range(50))
        total = sizes.total(50)
        assert total.bytes == total.low == total.high == sum(sizes.known)

    def test_of_many_a_sample_is_asked_and_the_interval_holds_the_truth(self):
        source = Source()
        sizes = ask_sizes(source, tasks(20_000))
        assert len(source.asked) == MOST_ASKED
        total, truth = sizes.total(20_000), sum(source._size(task) for task in tasks(20_000))
        assert total.low < truth < total.high
        assert total.high - total.low < 0.01 * truth
        assert "sizes of 200 of 20,000" in str(total)
        assert "a sample of 20,000" in sizes.check().detail

    def test_what_is_estimated_has_a_width(self):
        one_of_many = Sizes(50, tuple(tasks(50)), (1000,)).total(50)
        assert one_of_many.low < one_of_many.bytes < one_of_many.high
        sizes = ask_sizes(Source(), tasks(50))
        by_frames = sizes.total(50, Share(0.01, spread([10, 11, 12]), "three tries"))
        assert by_frames.low < by_frames.bytes < by_frames.high

    def test_a_range_that_is_too_small_to_show_is_left_out(self):
        assert str(Amount(2 * 10**9, 2 * 10**9, 2 * 10**9 + 5)) == "about 2.0 GB"

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (DownloadError("no such file"), "25 of 50 asked do not exist: no such file"),
            (TransientDownloadError("timed out"), "25 of 50 asked did not answer"),
            (ConfigError("no key"), "no key"),
        ],
    )
    def test_what_is_wrong_is_told(self, fault, said):
        check = ask_sizes(Source(fault=fault), tasks(50)).check()
        assert check.state == "failed"
        assert said in check.detail
        assert check.remedy

    def test_a_source_that_cannot_tell_is_no_failure(self):
        for source in (as_downloader(OnlyDownloads()), Source(lambda task: None)):
            sizes = ask_sizes(source, tasks(5))
            assert sizes.check().state == "unknown"
            assert sizes.total(5) is None


PLAN = StreamPlan(
    folder="<out>", images=9, images_left=6, images_done=3, batches=3, batches_left=2,
    batches_done=1, download=Amount(10**9, 9 * 10**8, 11 * 10**8, "a <sample>"),
    time=TimeEstimate(
        seconds=7500, low_s=6000, high_s=9000, startup_s=20, images=3, stages={"segment": 4.5}
    ),
    checks=(Check("models load", "ok", "A"), Check("disk", "failed", "<full>", "free space")),
)  # fmt: skip


def test_reads_as_text_html_and_json():
    text, html = repr(PLAN), PLAN._repr_html_()
    for part in (
        "6 to do, 3 of 9 done", "about 1.0 GB (900.0 MB to 1.1 GB); a <sample>", "free space",
        "about 2 h 5 min (1 h 40 min to 2 h 30 min), 20 s to start; from 3 images",
        "Not ready: disk", "peak disk unknown",
    ):  # fmt: skip
        assert part in text
    assert "&lt;full&gt;" in html
    assert "<full>" not in html
    assert "<script" not in html
    assert json.loads(json.dumps(PLAN.as_json()))["is_good"] is False


@pytest.mark.models
def test_the_command_writes_nothing_and_ends_with_1_when_a_check_fails(screen, tmp_path, capsys):
    from idrstream.demo import config_for

    dp_config = config_for(96, 128, tmp_path)
    config = tmp_path / "stream.toml"
    config.write_text(
        f"""
        [stream]
        table = '{screen.table_path}'
        tmp_dir = 'tmp'
        final_data_dir = 'out'
        log = 'stream.log'
        [download]
        method = "local"
        root = '{screen.folder}'
        screens_path = '{screen.screens_path}'
        [preprocess]
        illumination_context = "plate"
        [profile]
        dp_config = '{dp_config}'
        """
    )
    before = listing(tmp_path)
    assert main(["plan", str(config), "--probe", "1", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["images_left"] == 6
    assert plan["time"]["startup_s"] > 0
    assert main(["plan", str(config), "--screens-path", "missing.tsv"]) == 1
    assert "Not ready: settings and parts" in capsys.readouterr().out
    assert listing(tmp_path) == before


def test_memory_is_that_of_the_models_and_all_frames_at_once(monkeypatch):
    monkeypatch.setattr(checks, "memory_bytes", lambda: 1000)
    need = 3 * (2 + 1) * 10 * 20 * 4  # three frames of two channels and labels, four bytes each
    for free, state in ((need, "ok"), (need - 1, "failed")):
        monkeypatch.setattr(checks, "free_memory_bytes", lambda free=free: free)
        check = checks.check_memory([(1, 5, 5), (2, 10, 20)], 3)
        assert (check.what, check.state) == ("memory", state)
        assert bool(check.remedy) == (state == "failed")


def test_free_memory_is_some():
    assert 0 < checks.free_memory_bytes() < 1 << 50
