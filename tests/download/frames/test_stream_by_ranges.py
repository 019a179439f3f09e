"""A whole stream over nginx: tables are the same to the byte, however movies are brought."""

from __future__ import annotations

import pytest

from idrstream import ScreenSpec, simulate_screen
from idrstream.config import DownloadSettings
from idrstream.download import HttpTransport, TransportDownloader
from idrstream.screen.study.idr0013 import Idr0013Locator, PlateScreens


@pytest.fixture(scope="module")
def screen(tmp_path_factory, quick):
    spec = ScreenSpec(
        plates=1, wells_per_plate=3, frames=16, height=quick.HEIGHT, width=quick.WIDTH,
        nuclei_per_frame=6, invalid_frames=(16,), empty_wells=(), wanted_frames=(2, 16),
    )  # fmt: skip
    return simulate_screen(tmp_path_factory.mktemp("screen") / "mirror", spec)


def test_tables_are_equal_in_all_ways(screen, quick, web, tmp_path, caplog):
    movies = sorted(screen.folder.rglob("*.ch5"))
    for path in movies:
        web.put(f"stream/{path.relative_to(screen.folder)}", path.read_bytes())
    study = movies[0].relative_to(screen.folder).parts[0]
    root = f"{web.address}stream/" + (study if study.startswith("idr") else "")
    found = {}
    for fetch in ("file", "frames", "auto"):
        stream = quick.make_stream(screen, tmp_path / fetch)
        locator = Idr0013Locator(PlateScreens.read(screen.screens_path))
        stream.init_downloader(
            TransportDownloader(HttpTransport(root), locator, DownloadSettings(fetch=fetch))
        )
        caplog.clear()
        with caplog.at_level("INFO", logger="idrstream.download"):
            stream.run_stream(quick.table_of(screen), batch_size=2)
        stream.close()
        found[fetch] = quick.results(tmp_path / fetch / "out")
        by_ranges = "frames of" in caplog.text
        assert by_ranges == (fetch != "file")
    assert any(name.startswith("batch_") for name in found["file"])
    assert found["frames"] == found["file"]
    assert found["auto"] == found["file"]
