"""Tables of OME-Zarr plates and images by their addresses, through to the pixels."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hostile_http import head, hostile
from local_servers import NGINX, nginx, s3

from idrstream import table_from_files
from idrstream.archive import files_table
from idrstream.cli.main import main
from idrstream.config import DownloadSettings, PreprocessSettings
from idrstream.download import limit_to_needed, make_downloader
from idrstream.errors import DownloadError, MovieError, TableError
from idrstream.formats.make import make_reader
from idrstream.preprocess import check_selectors, make_preprocessor
from idrstream.screen import read_table, tasks_from_table

zarr = pytest.importorskip("zarr", minversion="3")

QUICK = {"download_attempts": 2, "retry_wait_s": 0.001, "longest_retry_wait_s": 0.002}
NAMES = ("DNA", "Actin")


def pixels_of(number):
    """Pixels of a field of two channels and three planes; each field has its own."""
    rng = np.random.default_rng(number)
    return rng.integers(1, 60_000, (1, 2, 3, 16, 20), dtype="uint16")


def attributes(path, version, content):
    zarr_format = 3 if version == "0.5" else 2
    group = zarr.open_group(str(path), mode="a", zarr_format=zarr_format)
    group.attrs.update({"ome": {"version": "0.5", **content}} if version == "0.5" else content)


def image(path, pixels, version="0.4", names=NAMES):
    multiscale = {"version": version, "datasets": [{"path": "0"}]}
    if version == "0.3":
        multiscale["axes"] = list("tczyx")
    elif version in ("0.4", "0.5"):
        multiscale["axes"] = [{"name": name} for name in "tczyx"]
    omero = {"channels": [{"label": name} for name in names]}
    attributes(path, version, {"multiscales": [multiscale], "omero": omero})
    options = {} if version == "0.5" else {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    array = zarr.create_array(
        str(path / "0"), shape=pixels.shape, dtype=pixels.dtype, chunks=(1, 1, 1, 8, 20),
        zarr_format=3 if version == "0.5" else 2, **options,
    )  # fmt: skip
    array[...] = pixels


def plate(path, wells, version="0.4", *, plate=None, fields=1, acquisitions=()):
    """Write a plate with wells at these paths; field n of all has the pixels of n."""
    rows, columns = (list(dict.fromkeys(w.split("/")[at] for w in wells)) for at in (0, 1))
    content = {
        "rows": [{"name": name} for name in rows],
        "columns": [{"name": name} for name in columns],
        "wells": [{"path": path} for path in wells],
        **(plate or {}),
    }
    attributes(path, version, {"plate": content})
    number = 0
    for well in wells:
        images = [
            {"path": str(at), **({"acquisition": acquisitions[at]} if acquisitions else {})}
            for at in range(fields)
        ]
        attributes(path / well, version, {"well": {"images": images}})
        for at in range(fields):
            image(path / well / str(at), pixels_of(number), version)
            number += 1
    return path


def streamed(table, folder, *, channels=("DNA=DNA", "X=actin"), **options):
    """Return the pixels of all rows as they are downloaded and projected."""
    tasks = tasks_from_table(table)
    settings = PreprocessSettings(
        image_channels=channels, projection="max", perform_illumination_correction=False
    )
    parts = make_preprocessor(settings, folder / "models")
    check_selectors(parts, tasks)
    source = make_downloader(**{"method": "omezarr", **QUICK, **options})
    limit_to_needed(source, parts)
    found = []
    for task in tasks:
        (frame,) = parts.process(source.download(task, folder / f"{task.plate}"))
        found.append(frame.pixels)
    return found


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3", "0.4", "0.5"])
def test_a_plate_of_every_version_through_to_its_projected_pixels(tmp_path, version):
    home = plate(tmp_path / "P1.ome.zarr", ["A/1", "B/03"], version, fields=2)
    made = files_table(home)
    table = made.table
    assert table[["Plate", "Well", "Site", "Source"]].to_numpy().tolist() == [
        ["P1", "A1", "1", "zarr"], ["P1", "A1", "2", "zarr"],
        ["P1", "B3", "1", "zarr"], ["P1", "B3", "2", "zarr"],
    ]  # fmt: skip
    assert set(table["Path"]) == {str(home)}
    assert set(table["Channel Names"]) == {"DNA;Actin"}
    assert set(table["Planes"]) == {"3"}
    assert "Acquisition" not in table
    assert made.balance.images.used == 4
    assert "20 x 16 pixels, 3 planes, 2 channels (DNA, Actin), 1 frame" in str(made.balance)
    for number, pixels in enumerate(streamed(table, tmp_path / "out")):
        np.testing.assert_array_equal(pixels, pixels_of(number)[0].max(axis=1))
    parts = make_preprocessor(PreprocessSettings(), tmp_path / "models")
    with pytest.raises(TableError, match="it has 3 z-planes"):
        check_selectors(parts, tasks_from_table(table))


@pytest.mark.parametrize(
    ("paths", "plate_metadata", "wells"),
    [
        (["A/01", "C/12"], {}, ["A1", "C12"]),
        (["a/1"], {}, ["A1"]),
        (["A/1", "B/02", "AB/48"], {}, ["A1", "B2", "AB48"]),
        (["0/0", "1/2"], {}, ["A1", "B3"]),
        (["1/1", "2/12"], {}, ["A1", "B12"]),
        (["0/1", "0/2"], {"rows": [], "columns": []}, ["A2", "A3"]),
        (
            ["well/x", "well/y"],
            {
                "rows": [{"name": "B"}, {"name": "D"}],
                "columns": [{"name": "2"}, {"name": "03"}],
                "wells": [
                    {"path": "well/x", "rowIndex": 0, "columnIndex": 0},
                    {"path": "well/y", "rowIndex": 1, "columnIndex": 1},
                ],
            },
            ["B2", "D3"],
        ),
    ],
    ids=["padded", "small", "1536", "from 0", "from 1", "unnamed", "indexes"],
)  # fmt: skip
def test_wells_by_name_and_by_index_give_their_own_pixels(tmp_path, paths, plate_metadata, wells):
    home = plate(tmp_path / "P.zarr", paths, plate=plate_metadata)
    table = table_from_files(home)
    assert table["Well"].tolist() == wells
    for number, pixels in enumerate(streamed(table, tmp_path / "out")):
        np.testing.assert_array_equal(pixels, pixels_of(number)[0].max(axis=1))


def test_acquisitions_are_rows_of_their_own(tmp_path):
    acquisitions = {"acquisitions": [{"id": 7, "name": "before"}, {"id": 9}]}
    home = plate(tmp_path / "P.zarr", ["A/1"], plate=acquisitions, fields=3, acquisitions=(7, 9, 9))
    table = table_from_files(home)
    assert table["Acquisition"].tolist() == ["before", "9", "9"]
    assert table["Site"].tolist() == ["1", "2", "3"]
    last = streamed(table, tmp_path / "out")[-1]
    np.testing.assert_array_equal(last, pixels_of(2)[0].max(axis=1))


def test_what_is_missing_is_counted(tmp_path, capsys):
    home = plate(tmp_path / "P.zarr", ["A/1", "A/2", "A/3", "A/4"])
    (home / "A/2/.zattrs").unlink()
    (home / "A/3/.zattrs").write_text("<html>")
    shown_to = tmp_path / "t.tsv"
    assert main(["table", str(home), "--out", str(shown_to)]) == 0
    shown = capsys.readouterr().out
    assert "no images of 2 of the 4 wells that the plate lists: A/2, A/3 (" in shown
    assert "is not JSON" in shown
    assert read_table(shown_to)["Well"].tolist() == ["A1", "A4"]
    wells = tmp_path / "wells.csv"
    wells.write_text("Plate,Well,Drug\nP,A01,DMSO\nP,A02,taxol\n")
    made = files_table(home, wells)
    assert made.table[["Well", "Drug"]].to_numpy().tolist() == [["A1", "DMSO"]]
    assert made.balance.lines.without_image == ("P A2",)


def test_one_image_and_several_images(tmp_path):
    image(tmp_path / "one.zarr", pixels_of(5))
    for number in range(3):
        image(tmp_path / "many.zarr" / str(number), pixels_of(number))
    attributes(tmp_path / "many.zarr", "0.4", {"bioformats2raw.layout": 3})
    inside = plate(tmp_path / "P.zarr", ["A/1"]) / "A" / "1" / "0"
    table = table_from_files([tmp_path / "one.zarr", tmp_path / "many.zarr", inside])
    assert table[["Plate", "Well", "Site"]].to_numpy().tolist() == [
        ["one", "A1", "1"], ["many", "A1", "1"], ["many", "A1", "2"], ["many", "A1", "3"],
        ["P_A_1_0", "A1", "1"],
    ]  # fmt: skip
    found = streamed(table, tmp_path / "out")
    for number, pixels in zip((5, 0, 1, 2, 0), found, strict=True):
        np.testing.assert_array_equal(pixels, pixels_of(number)[0].max(axis=1))


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_addresses_and_lists_of_them_over_http(tmp_path, capsys):
    with nginx(tmp_path) as web:
        for name in ("P 1", "P2"):
            plate(web.root / f"{name}.ome.zarr", ["A/1", "B/2"], "0.5" if name == "P2" else "0.4")
        addresses = [f"{web.address}{name}.ome.zarr" for name in ("P 1", "P2", "gone")]
        out = tmp_path / "table.tsv"
        assert main(["table", *addresses, "--out", str(out)]) == 0
        assert "gone: " in (shown := capsys.readouterr().out)
        assert "neither .zattrs nor zarr.json" in shown
        plain = tmp_path / "list.csv"
        plain.write_text("\n".join(addresses) + "\n")
        headed = tmp_path / "headed.csv"
        lines = [f'{address},"1,2",x: idr/{n}.zarr,P{n}' for n, address in enumerate(addresses)]
        headed.write_text("\n".join(["url,shape,name,Plate", *lines, ""]))
        tables = [read_table(out), table_from_files(plain), table_from_files(headed)]
        for table, names in zip(tables, (["P 1", "P2"],) * 2 + (["P0", "P1"],), strict=True):
            assert list(dict.fromkeys(table["Plate"])) == names
            assert len(table) == 4
        found = streamed(tables[0], tmp_path / "out", method="auto", https_root=web.address)
        for number, pixels in zip((0, 1, 0, 1), found, strict=True):
            np.testing.assert_array_equal(pixels, pixels_of(number)[0].max(axis=1))
        only = table_from_files(plain, plates=["P2"])
        assert set(only["Plate"]) == {"P2"}
        with pytest.raises(DownloadError, match=r"neither \.zattrs nor zarr\.json"):
            table_from_files(addresses[-1])
    plain.write_text(f"{addresses[0]}\nno address\n")
    with pytest.raises(TableError, match=r"'no address' is not a \.zarr"):
        table_from_files(plain)


def test_the_lists_that_idr_publishes(shared_data):
    from idrstream.archive.zarr import listed_zarr

    lists = {path.name: listed_zarr(path) for path in (shared_data / "idr/ngff").glob("*.csv")}
    counts = {name: len(found) for name, found in lists.items()}
    assert counts == {
        "idr0013_samples.csv": 538, "idr0016_samples.csv": 413, "idr0036_samples.csv": 20,
        "idr0090_samples.csv": 22, "idr_samples.csv": 0,
    }  # fmt: skip
    assert "20596" in lists["idr0036_samples.csv"].values()


def test_a_plate_in_a_bucket(tmp_path):
    pytest.importorskip("moto")
    pytest.importorskip("flask_cors")
    home = plate(tmp_path / "P.zarr", ["A/1", "B/2"], "0.5")
    with s3("plates") as bucket:
        for path in filter(Path.is_file, home.rglob("*")):
            bucket.put(str(path.relative_to(tmp_path)), path.read_bytes())
        server = {"omezarr_endpoint_url": bucket.address}
        table = table_from_files("s3://plates/P.zarr", settings=DownloadSettings(**server))
        assert table["Well"].tolist() == ["A1", "B2"]
        found = streamed(table, tmp_path / "out", **server)
    for number, pixels in enumerate(found):
        np.testing.assert_array_equal(pixels, pixels_of(number)[0].max(axis=1))


PAGE = b"<!doctype html><title>Welcome</title>"


def served(folder, *, stead, pack=""):
    """Return an answer: the files of a folder, and something in place of what is not there."""

    def answer(request):
        file = folder / request.split(" ")[1].lstrip("/")
        body, more = (file.read_bytes(), {}) if file.is_file() else (stead, {})
        if pack and file.name in (".zattrs", ".zarray", "zarr.json") and file.is_file():
            body = gzip.compress(body)
            more = {"Content_Encoding": "gzip"} if pack == "told" else {}
        yield head(Content_Length=str(len(body)), Connection="close", **more) + body

    return answer


@pytest.mark.parametrize("stead", [PAGE, b"", b"{}", b'{"error": "no"}', b"[1]"])
def test_a_server_that_answers_everything_with_200(tmp_path, stead):
    """What it lacks is a page, nothing, or other JSON: no plate is lost, and no pixel made up."""
    home = plate(tmp_path / "P.zarr", ["A/1", "A/2", "A/3"])
    (home / "A/2/.zattrs").unlink()
    (home / "A/1/0/0/0/0/1/0/0").unlink()
    with hostile(served(tmp_path, stead=stead)) as address:
        made = files_table(f"{address}P.zarr")
        assert made.table["Well"].tolist() == ["A1", "A3"]
        assert "no images of 1 of the 3 wells that the plate lists" in str(made.balance)
        table = made.table[made.table["Well"] == "A3"].reset_index(drop=True)
        (pixels,) = streamed(table, tmp_path / "out")
        np.testing.assert_array_equal(pixels, pixels_of(2)[0].max(axis=1))
        tasks = tasks_from_table(made.table)
        source = make_downloader(method="omezarr", **QUICK)
        source.limit_to(None, channels=[("", "0")], all_planes=True)
        movie = source.download(tasks[0], tmp_path / "cut")
    read = make_reader("cellh5", projection="max").read(movie.path, [1])[1]
    assert "is damaged" in str(read)
    with hostile(lambda _: iter([head(Content_Length=str(len(stead))) + stead])) as address:
        with pytest.raises((DownloadError, MovieError)):
            files_table(f"{address}P.zarr")
        right = {"omezarr_roots": (address, str(tmp_path)), "omezarr_pattern": "{Plate}.zarr"}
        (again,) = streamed(table.assign(Path=""), tmp_path / "again", **right)
    np.testing.assert_array_equal(again, pixels)


@pytest.mark.parametrize("stead", [PAGE, b"", b"{}"])
def test_a_server_that_answers_everything_has_no_more_images(tmp_path, stead):
    for number in range(2):
        image(tmp_path / "many.zarr" / str(number), pixels_of(number))
    attributes(tmp_path / "many.zarr", "0.4", {"bioformats2raw.layout": 3})
    with hostile(served(tmp_path, stead=stead)) as address:
        made = files_table(f"{address}many.zarr")
    assert made.table["Site"].tolist() == ["1", "2"]
    assert ("image 2 cannot be understood" in str(made.balance)) is (stead != b"{}")


@pytest.mark.parametrize("pack", ["told", "silent"])
def test_metadata_that_are_sent_gzipped(tmp_path, pack):
    plate(tmp_path / "P.zarr", ["A/1", "B/1"])
    with hostile(served(tmp_path, stead=b"", pack=pack)) as address:
        table = table_from_files(f"{address}P.zarr")
        found = streamed(table, tmp_path / "out")
    for number, pixels in enumerate(found):
        np.testing.assert_array_equal(pixels, pixels_of(number)[0].max(axis=1))


def test_a_gzipped_bomb_is_refused(tmp_path):
    (tmp_path / "P.zarr").mkdir()
    (tmp_path / "P.zarr/.zattrs").write_bytes(gzip.compress(b" " * 2**26 + b"{}"))
    with pytest.raises(DownloadError, match="more than 4,194,304 bytes"):
        table_from_files(tmp_path / "P.zarr")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"wells": []}, "none of the 0 wells"),
        ({"wells": [{"path": "../x"}]}, "leads out of"),
        ({"wells": [{}]}, "cannot be understood"),
        ({"wells": [{"path": "A/1"}] * 7000}, "they list 7,000 wells"),
        ({"wells": 5}, "cannot be understood"),
        ({"wells": [{"path": "A/1"}], "rows": 7}, "cannot be understood"),
    ],
)
def test_plates_that_lie(tmp_path, content, words):
    (tmp_path / "P.zarr").mkdir()
    (tmp_path / "P.zarr/.zattrs").write_text(json.dumps({"plate": content}))
    with pytest.raises((DownloadError, MovieError), match=words):
        table_from_files(tmp_path / "P.zarr")


def test_a_channel_by_its_name_in_the_image(tmp_path):
    home = plate(tmp_path / "P.zarr", ["A/1"])
    table = table_from_files(home).drop(columns="Channel Names")
    (pixels,) = streamed(table, tmp_path / "out", channels=("X=actin",))
    np.testing.assert_array_equal(pixels, pixels_of(0)[0, 1:].max(axis=1))
    with pytest.raises(MovieError, match=r"no channel 'ER'; there are DNA, Actin"):
        streamed(table, tmp_path / "out", channels=("ER=ER",))


def test_an_image_whose_channels_stand_in_another_order_is_refused(tmp_path):
    home = plate(tmp_path / "P.zarr", ["A/1", "A/2"])
    image(home / "A/3/0", pixels_of(9), names=NAMES[::-1])
    attributes(home / "A/3", "0.4", {"well": {"images": [{"path": "0"}]}})
    metadata = json.loads((home / ".zattrs").read_text())
    metadata["plate"]["wells"].append({"path": "A/3"})
    (home / ".zattrs").write_text(json.dumps(metadata))
    table = table_from_files(home)
    assert table["Well"].tolist() == ["A1", "A2", "A3"]
    with pytest.raises(MovieError, match="DNA, Actin, in this order; the image has Actin, DNA"):
        streamed(table, tmp_path / "out")
