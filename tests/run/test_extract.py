"""Every plane of a stream's images in OME-Zarr plates: real files of each kind, in and out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from extraction import files_of, settings_of
from movie_files import bioformats_jar  # noqa: F401, a fixture
from tiff_files import write_ome_set

from idrstream import IdrStream, ScreenSpec, read_table, simulate_screen
from idrstream.cli.main import main
from idrstream.cluster import Processes
from idrstream.collect.folder import collect_folder
from idrstream.errors import CollectError, ConfigError, LockedError, PlanChangedError
from idrstream.folder.locks import folder_lock
from idrstream.folder.status import read_status
from idrstream.folder.status_text import one_line
from idrstream.formats import make_reader
from idrstream.report.write import write_report
from idrstream.watch.status_html import status_html

HEIGHT, WIDTH = 96, 128
RNG = np.random.default_rng(7)


def noise(*shape, dtype="uint16"):
    return RNG.integers(1, 250, shape).astype(dtype)


def make_stream(folder, root, reader=None, **options):
    stream = IdrStream("idr0013", folder / "tmp", folder / "out")
    stream.init_downloader(method="local", root=str(root), **options)
    stream.init_preprocessor(None, False, reader=reader)
    return stream


def plane_of(folder, name):
    """Return a field as zarr-python reads it; axes t, c, z, y, x."""
    return zarr.open_group(folder / "out" / "plates" / name, mode="r")["0"][:]


def about(path):
    return dict(zarr.open_group(path, mode="r").attrs)


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """Return a screen of two plates with three wells each, 40 frames a movie."""
    spec = ScreenSpec(
        plates=2, wells_per_plate=3, frames=40, height=HEIGHT, width=WIDTH, nuclei_per_frame=6,
        invalid_frames=(), empty_wells=(), wanted_frames=(1, 2),
    )  # fmt: skip
    return simulate_screen(tmp_path_factory.mktemp("screen"), spec)


@pytest.fixture(scope="module")
def extracted(screen, tmp_path_factory):
    """Return the folder of a screen that was extracted in this process."""
    folder = tmp_path_factory.mktemp("extracted")
    stream = IdrStream.from_settings(settings_of(screen, folder))
    table = read_table(screen.table_path)
    result = stream.extract(table, batch_size=1, progress=False)
    assert not result.rerun_batches
    assert stream.extracted(table) == (6, 6, 0, 0, 240, 0)
    assert stream.verify().is_good
    return folder


def movies_of(screen):
    return sorted(screen.folder.rglob("*.ch5"))


def ch5_pixels(path):
    import h5py

    found = []
    with h5py.File(path) as file:
        names = []
        file.visit(names.append)
        found += [file[name][:] for name in names if name.endswith("/1/image/channel")]
    (pixels,) = found
    return pixels  # c, t, z, y, x


def test_every_plane_of_a_screen_is_in_its_plate(screen, extracted):
    plates = sorted(path.name for path in (extracted / "out" / "plates").iterdir())
    assert plates == ["SIM0001_01.ome.zarr", "SIM0002_01.ome.zarr"]
    originals = {ch5_pixels(path).tobytes() for path in movies_of(screen)}
    fields = [p.parent for p in (extracted / "out" / "plates").glob("*/*/*/1/zarr.json")]
    written = {
        zarr.open_group(field, mode="r")["0"][:].swapaxes(0, 1).tobytes() for field in fields
    }
    assert len(fields) == 6
    assert written == originals


def test_a_plate_says_which_wells_and_fields_it_has(extracted):
    plate = extracted / "out" / "plates" / "SIM0001_01.ome.zarr"
    ome = about(plate)["ome"]
    assert ome["version"] == ome["plate"]["version"] == "0.5"
    wells = ome["plate"]["wells"]
    assert [well["path"] for well in wells] == ["A/4", "A/15", "P/21"]
    for well in wells:
        row, column = well["path"].split("/")
        assert ome["plate"]["rows"][well["rowIndex"]]["name"] == row
        assert ome["plate"]["columns"][well["columnIndex"]]["name"] == column
        (image,) = about(plate / well["path"])["ome"]["well"]["images"]
        field = about(plate / well["path"] / image["path"])["ome"]
        assert [axis["name"] for axis in field["multiscales"][0]["axes"]] == list("tczyx")
        assert len(field["omero"]["channels"]) == 1


def test_nothing_speaks_of_nuclei(extracted, capsys):
    out = extracted / "out"
    status = read_status(out)
    assert (status.objects, status.nuclei) == ("planes", 240)
    said = [str(status), one_line(status), status_html(status)]
    said.append(write_report(out, extracted / "report.html").path.read_text())
    assert main(["resume", str(out)]) == 0
    said.append(capsys.readouterr().out)
    assert f"plates are in {out / 'plates'}" in said[-1]
    for text in said:
        words = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL).lower()
        assert not re.search(r"nucle(us|i)|features|cells|parquet", words)
    assert all("planes" in text.lower() for text in said[:-1])
    with pytest.raises(CollectError, match=r"planes.*plates.*no features|no features.*plates"):
        collect_folder(out)


def test_two_workers_write_the_same_bytes(screen, extracted, tmp_path):
    stream = IdrStream.from_settings(settings_of(screen, tmp_path))
    table = read_table(screen.table_path)
    result = stream.extract(table, batch_size=1, progress=False, executor=Processes(2))
    assert not result.rerun_batches
    assert files_of(tmp_path) == files_of(extracted)
    assert stream.verify().is_good


def test_one_that_is_killed_half_way_goes_on_to_the_same_bytes(screen, extracted, tmp_path):
    config = tmp_path / "stream.toml"
    config.write_text(
        f'[stream]\ntable = "{screen.table_path}"\nfinal_data_dir = "{tmp_path / "out"}"\n'
        f'tmp_dir = "{tmp_path / "tmp"}"\nbatch_size = 1\nprogress = false\n'
        f'batches_in_flight = 1\n[download]\nmethod = "local"\nroot = "{screen.folder}"\n'
        f'screens_path = "{screen.screens_path}"\n'
    )
    before = {path: path.read_bytes() for path in movies_of(screen)}
    command = [sys.executable, "-m", "idrstream", "extract", str(config), "--delete"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not any((tmp_path / "out").glob("batch_*.csv.gz")) and time.monotonic() < until:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    assert running.wait(30) == -signal.SIGKILL
    done = len(list((tmp_path / "out").glob("batch_*.csv.gz")))
    assert 0 < done < 6
    assert {path: path.read_bytes() for path in movies_of(screen)} == before
    assert main(["resume", str(tmp_path / "out")]) == 0
    assert files_of(tmp_path) == files_of(extracted)
    assert not list((tmp_path / "out" / "extracted").iterdir())


@pytest.fixture
def ome_tiffs(tmp_path):
    """Return the pixels of two sites, shape (t, c, z, y, x), and their table."""
    sites = [noise(3, 2, 4, 70, 90), noise(3, 2, 4, 70, 90)]
    root = tmp_path / "originals"
    root.mkdir()
    for number, pixels in enumerate(sites, 1):
        tifffile.imwrite(
            root / f"site{number}.ome.tif", pixels.swapaxes(1, 2),
            metadata={
                "axes": "TZCYX", "Channel": {"Name": ["DNA", "ER"]}, "PhysicalSizeX": 0.325,
                "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.325, "PhysicalSizeYUnit": "µm",
                "PhysicalSizeZ": 2000, "PhysicalSizeZUnit": "nm",
            },
        )  # fmt: skip
    paths = [str(root / f"site{number}.ome.tif") for number in (1, 2)]
    table = pd.DataFrame({"Plate": "P", "Well": "B2", "Site": ["1", "2"], "Path": paths})
    return sites, table


def test_channels_planes_names_and_sizes_of_ome_tiff(ome_tiffs, tmp_path):
    sites, table = ome_tiffs
    stream = make_stream(tmp_path, tmp_path)
    stream.extract(table, progress=False)
    assert stream.extracted(table) == (2, 2, 0, 0, 48, 0)
    for number, pixels in enumerate(sites, 1):
        assert np.array_equal(plane_of(tmp_path, f"P.ome.zarr/B/2/{number}"), pixels)
    plate = tmp_path / "out" / "plates" / "P.ome.zarr"
    images = about(plate / "B" / "2")["ome"]["well"]["images"]
    assert images == [{"path": "1"}, {"path": "2"}]
    field = about(plate / "B" / "2" / "1")["ome"]
    assert [one["label"] for one in field["omero"]["channels"]] == ["DNA", "ER"]
    (scale,) = field["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == pytest.approx([1, 1, 2, 0.325, 0.325])
    array = zarr.open_group(plate / "B" / "2" / "1", mode="r")["0"]
    assert array.chunks == (1, 1, 1, 70, 90)
    assert array.shards == (3, 2, 4, 70, 90)


def test_originals_go_only_when_all_their_planes_are_out(ome_tiffs, tmp_path):
    _, table = ome_tiffs
    first, second = map(os.fspath, table["Path"])
    stream = make_stream(tmp_path, tmp_path)
    stream.extract(table, progress=False)
    array = zarr.open_group(tmp_path / "out/plates/P.ome.zarr/B/2/2", mode="r+")["0"]
    array[2, 1, 3, 5, 5] += 1
    with folder_lock(tmp_path / "out", "final_data_dir"), pytest.raises(LockedError):
        stream.delete_originals(table)
    results = {str(one.path): one.kept for one in stream.delete_originals(table)}
    assert results[first] == ""
    assert "differs in frame 3" in results[second]
    assert [os.path.exists(path) for path in (first, second)] == [False, True]  # noqa: PTH110
    assert not stream.verify().is_good


def test_originals_that_somebody_else_may_own_are_kept(ome_tiffs, tmp_path):
    _, table = ome_tiffs
    linked = tmp_path / "linked"
    linked.symlink_to(tmp_path / "originals")
    table = table.assign(Path=[f"{linked}/site1.ome.tif", table["Path"][1]])
    stream = make_stream(tmp_path, tmp_path)
    stream.extract(table, progress=False)
    kept = [one.kept for one in stream.delete_originals(table)]
    assert kept == ["it is reached through a link", ""]
    assert (tmp_path / "originals" / "site1.ome.tif").exists()


def test_a_bad_image_sinks_neither_plate_nor_originals(ome_tiffs, tmp_path, capsys):
    sites, table = ome_tiffs
    bad = tmp_path / "originals" / "site1.ome.tif"
    bad.write_bytes(bad.read_bytes()[:-40_000])
    table.to_csv(tmp_path / "table.csv", index=False)
    config = tmp_path / "stream.toml"
    config.write_text(
        f'[stream]\ntable = "{tmp_path / "table.csv"}"\nfinal_data_dir = "{tmp_path / "out"}"\n'
        f'tmp_dir = "{tmp_path / "tmp"}"\nprogress = false\n'
        f'[download]\nmethod = "local"\nroot = "{tmp_path}"\ncomplete_timeout_s = 0.1\n'
    )
    assert main(["extract", str(config), "--delete"]) == 1
    said = capsys.readouterr().out
    assert "2 images: 1 with all planes, 0 without some frames, 1 missing." in said
    assert "24 planes are out." in said
    assert "1 originals deleted, 1 kept" in said
    assert bad.exists()
    assert not (tmp_path / "originals" / "site2.ome.tif").exists()
    assert np.array_equal(plane_of(tmp_path, "P.ome.zarr/B/2/2"), sites[1])


def test_channels_in_files_of_their_own(tmp_path):
    pixels = noise(2, 60, 50)
    paths = [tmp_path / f"{name}.tif" for name in ("a", "b")]
    for path, plane in zip(paths, pixels, strict=True):
        tifffile.imwrite(path, plane)
    table = pd.DataFrame(
        {"Plate": ["P"], "Well": ["A1"], "Path DNA": str(paths[0]), "Path ER": str(paths[1])}
    )
    stream = make_stream(tmp_path, tmp_path)
    stream.extract(table, progress=False)
    assert np.array_equal(plane_of(tmp_path, "P.ome.zarr/A/1/1"), pixels[None, :, None])
    labels = about(tmp_path / "out/plates/P.ome.zarr/A/1/1")["ome"]["omero"]["channels"]
    assert [one["label"] for one in labels] == ["DNA", "ER"]
    assert [one.kept for one in stream.delete_originals(table)] == ["", ""]
    assert not any(path.exists() for path in paths)


def test_a_set_of_files_is_extracted_and_kept(tmp_path):
    pixels = noise(2, 3, 2, 40, 50)
    paths = write_ome_set(tmp_path, pixels)
    table = pd.DataFrame({"Plate": ["P"], "Well": ["A1"], "Path": str(paths[0])})
    stream = make_stream(tmp_path, tmp_path)
    stream.extract(table, progress=False)
    assert np.array_equal(plane_of(tmp_path, "P.ome.zarr/A/1/1"), pixels.transpose(1, 0, 2, 3, 4))
    (one,) = stream.delete_originals(table)
    assert "several files" in one.kept
    assert all(path.exists() for path in paths)


def test_ome_zarr_goes_through_again(ome_tiffs, tmp_path, caplog):
    sites, table = ome_tiffs
    make_stream(tmp_path, tmp_path).extract(table, progress=False)
    again = tmp_path / "again"
    plate = tmp_path / "out" / "plates" / "P.ome.zarr"
    table = table.assign(Path=str(plate))
    stream = make_stream(again, tmp_path)
    stream.extract(table, progress=False)
    for number, pixels in enumerate(sites, 1):
        assert np.array_equal(plane_of(again, f"P.ome.zarr/B/2/{number}"), pixels)
    assert stream.delete_originals(table) == []
    assert f"{len(table)} images are not in local files" in caplog.text


def test_a_folder_of_features_is_not_continued_with_planes(ome_tiffs, tmp_path):
    _, table = ome_tiffs
    stream = make_stream(tmp_path, tmp_path)
    stream.extract(table, progress=False)
    stream.init_segmentor({"model_type": "idrstream-nuclei"})
    stream.copy_DP_files()
    with pytest.raises(PlanChangedError):
        stream.run_stream(table.assign(Frames="all"), progress=False)


def test_what_cannot_tell_its_channels_is_refused(ome_tiffs, tmp_path):
    _, table = ome_tiffs
    stream = make_stream(tmp_path, tmp_path)
    stream.init_preprocessor(type("Own", (), {"process": lambda self, movie: []})())
    with pytest.raises(ConfigError, match="reader"):
        stream.extract(table, progress=False)


@pytest.mark.java
def test_a_file_that_only_bioformats_reads(bioformats_jar, tmp_path):  # noqa: F811
    pixels = noise(5, 40, 60)
    path = tmp_path / "stack.nrrd"
    header = "NRRD0004\ntype: uint16\ndimension: 3\nsizes: 60 40 5\nencoding: raw\nendian: little\n"
    path.write_bytes(f"{header}\n".encode() + pixels.tobytes())
    table = pd.DataFrame({"Plate": ["P"], "Well": ["A1"], "Path": str(path)})
    stream = make_stream(tmp_path, tmp_path, reader=make_reader(bioformats_jar))
    try:
        stream.extract(table, progress=False)
        assert np.array_equal(plane_of(tmp_path, "P.ome.zarr/A/1/1"), pixels[None, None])
        assert [one.kept for one in stream.delete_originals(table)] == [""]
        assert not path.exists()
    finally:
        stream.close()
