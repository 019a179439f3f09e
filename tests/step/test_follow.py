"""Streams that follow a folder or a table that grows: real files, written as a microscope does."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from idrstream import make_downloader
from idrstream.cli.main import main
from idrstream.errors import ConfigError
from idrstream.folder.status import read_status
from idrstream.stream.following import GrowingRows
from idrstream.watch.control import ask

SETTLE_S = 0.3


@pytest.fixture(scope="module")
def movies(quick, tmp_path_factory):
    screen = quick.make_screen(tmp_path_factory.mktemp("screen") / "mirror", plates=1, wells=3)
    return screen, [Path(path).read_bytes() for path in screen.movies]


class Following:
    """A stream that follows, in a thread."""

    def __init__(self, quick, movies, folder, table=None, quantile=0.9, **options):
        self.stream = quick.make_stream(movies[0], folder, quantile=quantile, plate_model=False)
        self.stream.init_downloader(make_downloader(method="local", root="/"))
        self.out = self.stream.final_data_dir
        self.results, self.error = [], None
        self._table, self._options = table, options
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self):
        try:
            for result in self.stream.follow(
                self._table, settle_s=SETTLE_S, progress=False, plate_format=96, **self._options
            ):
                self.results.append(result)
        except BaseException as error:
            self.error = error

    def images(self):
        return sum(len(one.batch.tasks) for result in self.results for one in result.batches)

    def nuclei(self):
        return sum(result.nuclei for result in self.results)

    def stop(self):
        with suppress(ConfigError):  # it has ended by itself
            ask(self.out, "stop")
        self._thread.join(60)
        self.stream.close()
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error


def wait_for(what, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def plate(tmp_path):
    folder = tmp_path / "microscope" / "P1"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "stream.toml"
    path.write_text(
        '[stream]\ntable = "table.tsv"\nfinal_data_dir = "o"\ntmp_dir = "t"\nprogress = false\n'
        'plate_format = 96\n[download]\nmethod = "local"\nroot = "/"\n'
    )
    return path


def test_two_streams_follow_one_folder(quick, movies, plate, tmp_path):
    pattern = f"{plate.parent}/{{plate}}/{{well}}.ch5"
    both = [
        Following(quick, movies, tmp_path / name, files=pattern, quantile=quantile)
        for name, quantile in (("one", 0.9), ("other", 0.95))
    ]
    contents = movies[1]
    (plate / "A01.ch5").write_bytes(contents[0])
    with (plate / "A02.ch5").open("wb") as slow:
        slow.write(contents[1][: len(contents[1]) // 2])
        slow.flush()
        wait_for(lambda: all(one.images() == 1 for one in both) or any(o.error for o in both))
        time.sleep(3 * SETTLE_S)
        assert [one.images() for one in both] == [1, 1]  # the other is not complete
        slow.write(contents[1][len(contents[1]) // 2 :])
    wait_for(lambda: all(one.images() == 2 for one in both) or any(o.error for o in both))
    for one in both:
        one.stop()
        assert sum(len(result.failures()) for result in one.results) == 0
    tables = [
        pd.concat(pd.read_csv(path) for path in sorted(one.out.glob("batch_*.csv.gz")))
        for one in both
    ]
    assert [len(table) for table in tables] == [one.nuclei() for one in both]
    assert all(table["Metadata_Well"].nunique() == 2 for table in tables)
    assert not tables[0]["Location_Center_X"].equals(tables[1]["Location_Center_X"])
    assert (plate / "A01.ch5").read_bytes() == contents[0]


def test_a_stop_between_two_runs_is_heard(quick, movies, plate, tmp_path, monkeypatch):
    (plate / "A01.ch5").write_bytes(movies[1][0])
    take = GrowingRows.take
    following = None

    def taken(self, read):
        if following is not None and following.results:  # one run has ended, none follows yet
            ask(following.out, "stop")
        return take(self, read)

    monkeypatch.setattr(GrowingRows, "take", taken)
    pattern = f"{plate.parent}/{{plate}}/{{well}}.ch5"
    following = Following(quick, movies, tmp_path / "one", files=[pattern])
    wait_for(lambda: following.images() == 1 or following.error)
    following.stop()
    assert len(following.results) == 1


def test_files_that_come_give_the_wanted_frames(quick, movies, plate, tmp_path):
    (plate / "A01.ch5").write_bytes(movies[1][0])
    pattern = f"{plate.parent}/{{plate}}/{{well}}.ch5"
    one = Following(quick, movies, tmp_path / "one", files=pattern, frames="1-2")
    wait_for(lambda: one.images() == 1 or one.error)
    one.stop()
    table = pd.read_csv(one.out / "batch_0.csv.gz")
    frames = {int(well.split("_")[1]) for well in table["Metadata_Well"]}
    assert frames == {1, 2}


def test_a_table_grows_and_a_second_call_goes_on(quick, movies, plate, tmp_path):
    table = tmp_path / "table.tsv"
    rows = []
    for number, content in enumerate(movies[1], start=1):
        path = plate / f"A0{number}.ch5"
        path.write_bytes(content)
        rows.append(f"P1\tA{number}\t1\t{path}\n")

    table.write_text("Plate\tWell\tFrames\tPath\n" + rows[0])
    first = Following(quick, movies, tmp_path / "one", table)
    wait_for(lambda: first.images() == 1 or first.error)
    with table.open("a") as file:
        file.write(rows[1])
    wait_for(lambda: first.images() == 2 or first.error)
    first.stop()
    table.write_text("Plate\tWell\tFrames\tPath\n" + "".join(rows[1:]))  # the first row is gone
    again = Following(quick, movies, tmp_path / "one", table)
    wait_for(lambda: again.images() == 1 or again.error)
    read_status(again.out)  # as idrstream stop does, while it waits
    again.stop()
    assert [path.name for path in again.out.glob("journal*")] == ["journal.sqlite"]
    assert sorted(path.name for path in again.out.glob("batch_*")) == [
        f"batch_{number}.csv.gz" for number in range(3)
    ]
    wells = [pd.read_csv(again.out / f"batch_{number}.csv.gz") for number in range(3)]
    assert [len(set(one["Metadata_Well"])) for one in wells] == [1, 1, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--files=x/{well}.tif"], "--files needs --follow"),
        (["--frames=all"], "--frames needs --files"),
        (["--follow", "--files=x/{well}.tif", "--frames=x"], "frames"),
        (["--follow", "--detach"], "without --from and --detach"),
        (["--follow", "--settle-s=0"], "above 0"),
        (["--follow", "--batch-nums=1"], "leave batch_nums"),
    ],
)
def test_says_what_does_not_go_together(config, options, said, capsys):
    assert main(["run", str(config), *options]) == 2
    assert said in capsys.readouterr().err
