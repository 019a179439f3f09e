"""A simulated screen on disk: layout, CellH5, tables, truth, command line."""

from __future__ import annotations

import hashlib
import struct

import h5py
import numpy as np
import pytest

from idrstream.cli.main import main
from idrstream.errors import ConfigError, MovieError
from idrstream.screen import read_table, tasks_from_table
from idrstream.simulate import load_truth, simulate_movie, simulate_screen, tiny_spec
from idrstream.simulate.cellh5 import write_cellh5


@pytest.fixture(scope="module")
def spec():
    return tiny_spec(plates=2, wells_per_plate=3, invalid_frames=(2,), empty_wells=("P21",))


@pytest.fixture(scope="module")
def screen(tmp_path_factory, spec):
    return simulate_screen(tmp_path_factory.mktemp("a b") / "screen", spec)


def _position(file):
    plate = next(iter(file["sample/0/plate"].values()))
    well = next(iter(plate["experiment"].values()))
    return next(iter(well["position"].values()))


def _digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_layout_is_the_archives(screen):
    lines = screen.screens_path.read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        plate, entry = line.split("\t")
        assert plate.startswith("SIM")
        name = entry.removeprefix("../screens/").removesuffix(".screen")
        movies = sorted(
            path.name
            for path in (
                screen.folder / screen.study / "20150916-mitocheck-analysis/mitocheck" / name
            ).glob("hdf5/*.ch5")
        )
        assert movies == ["00004_01.ch5", "00015_01.ch5", "00381_01.ch5"]
    assert len(screen.movies) == 6


def test_the_table_has_the_columns_of_the_real_one(screen, shared_data):
    real = (shared_data / "idr" / "data_to_process.tsv").read_text().splitlines()[0]
    assert screen.table_path.read_text().splitlines()[0] == real


def test_the_table_can_be_processed_and_has_both_controls(screen):
    tasks = tasks_from_table(read_table(screen.table_path))
    assert [(task.well, task.frames) for task in tasks[:3]] == [
        ("A4", (2,)), ("A15", (2,)), ("P21", (2,)),
    ]  # fmt: skip
    assert {task.metadata["Control Type"] for task in tasks} == {
        "positive control", "negative control",
    }  # fmt: skip
    for task in tasks:
        assert screen.truth_of(task.plate, task.well_number).is_file()


def test_pixels_and_labels_come_back(screen, spec):
    movie = simulate_movie(spec, plate="SIM0001_01", well="A4")
    with h5py.File(screen.movies[0]) as file:
        image = _position(file)["image"]
        assert image["channel"].dtype == np.uint8
        assert image["region"].dtype == np.uint16
        np.testing.assert_array_equal(image["channel"][0, :, 0], movie.frames)
        np.testing.assert_array_equal(image["region"][0, :, 0], movie.masks)
        np.testing.assert_array_equal(image["channel"].attrs["valid"], [1.0, 0.0, 1.0])
        assert image["channel"].attrs["valid"].dtype == np.float64


def test_frames_that_are_not_valid_were_never_written(screen):
    with h5py.File(screen.movies[0]) as file:
        channel = _position(file)["image/channel"]
        chunks = {
            channel.id.get_chunk_info(k).chunk_offset[1] for k in range(channel.id.get_num_chunks())
        }
    assert chunks == {0, 2}


def test_groups_types_and_chunks_are_those_of_a_real_file(screen, shared_data):
    real = next(iter((shared_data / "movies").rglob("00015_01.ch5")))
    assert _shape_of(screen.movies[0]) == _shape_of(real)


def _shape_of(path):
    """What a CellH5 file looks like apart from its names, sizes and values."""
    found = {}

    def visit(name, item):
        parts = name.split("/")
        for place in (3, 5):
            if parts[0] == "sample" and len(parts) > place:
                parts[place] = "*"
        if parts[0] == "sample" and len(parts) > 3:
            parts = [*parts[:3], "*", *parts[4:]]
        key = "/".join(parts)
        if isinstance(item, h5py.Dataset):
            grows = item.maxshape[0] is None
            quarter = None
            if item.ndim == 5:
                quarter = item.chunks[:3] == (1, 1, 1) and item.chunks[3:] == tuple(
                    length // 4 for length in item.shape[3:]
                )
            found[key] = (
                str(item.dtype), item.ndim, item.compression, item.compression_opts, grows,
                quarter, sorted((k, str(v.dtype)) for k, v in item.attrs.items()),
                item[()].tobytes() if key.startswith("definition") else None,
            )  # fmt: skip
        else:
            found[key] = sorted(item.attrs)

    with h5py.File(path) as file:
        file.visititems(visit)
    return {key.replace("/00004", "/*").replace("/00015", "/*"): v for key, v in found.items()}


def test_object_tables_agree_with_the_masks(screen):
    with h5py.File(screen.movies[1]) as file:
        position = _position(file)
        masks = position["image/region"][0, :, 0]
        objects = position["object/primary__primary"][()]
        centres = position["feature/primary__primary/center"][()]
        boxes = position["feature/primary__primary/bounding_box"][()]
    assert len(objects) == len(centres) == len(boxes) > 10
    for item, centre, box in zip(objects, centres, boxes, strict=True):
        y, x = np.nonzero(masks[item["time_idx"]] == item["obj_label_id"])
        assert (box["left"], box["right"]) == (x.min(), x.max())
        assert (box["top"], box["bottom"]) == (y.min(), y.max())
        assert abs(centre["x"] - x.mean()) <= 0.5
        assert abs(centre["y"] - y.mean()) <= 0.5


def test_labels_may_have_gaps(tmp_path):
    masks = np.zeros((1, 16, 16), np.uint16)
    masks[0, 2:4, 2:6], masks[0, 9:12, 9:12] = 2, 5
    path = tmp_path / "00001_01.ch5"
    write_cellh5(
        path,
        np.zeros((1, 16, 16), np.uint8),
        masks,
        valid=np.array([True]),
        screen="S",
        well_number=1,
    )
    with h5py.File(path) as file:
        assert _position(file)["object/primary__primary"]["obj_label_id"].tolist() == [2, 5]


def test_the_file_ends_where_its_superblock_says(screen):
    data = screen.movies[0].read_bytes()
    assert data[8] == 0, "superblock version of the archive's files"
    assert struct.unpack_from("<Q", data, 40)[0] == len(data)


def test_a_well_without_nuclei_is_a_movie_too(screen):
    with h5py.File(screen.movies[2]) as file:
        position = _position(file)
        assert position["object/primary__primary"].shape == (0,)
        assert position["image/channel"][0, 0, 0].any()
    assert load_truth(screen.truth_of("SIM0001_01", 381)).masks.max() == 0


def test_the_truth_comes_back(screen, spec):
    movie = simulate_movie(spec, plate="SIM0002_01", well="A15")
    truth = load_truth(screen.truth_of("SIM0002_01", 15))
    np.testing.assert_array_equal(truth.masks, movie.masks)
    np.testing.assert_array_equal(truth.flatfield, movie.flatfield)
    np.testing.assert_array_equal(truth.truth.positions, movie.truth.positions)
    np.testing.assert_array_equal(truth.truth.phase, movie.truth.phase)
    assert (truth.plate, truth.well, truth.offset) == ("SIM0002_01", "A15", movie.offset)
    assert truth.frames.shape == (0, 192, 256)


def test_what_is_no_truth_is_told(tmp_path):
    with pytest.raises(MovieError, match="is not the truth"):
        load_truth(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(MovieError, match="masks"):
        load_truth(tmp_path / "other.npz")


def test_the_same_spec_gives_the_same_files_and_overwriting_replaces(tmp_path, screen, spec):
    folder = tmp_path / "again"
    simulate_screen(folder, tiny_spec(seed=9))
    others = ("notes.txt", "truth/thesis.txt", "idr0013-neumann-mitocheck/thesis.txt")
    for name in others:
        (folder / name).write_text("mine")
    simulate_screen(folder, spec, overwrite=True)
    found = _digests(folder)
    assert all(found.pop(name) for name in others)
    assert found == _digests(screen.folder)


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not empty.*--force"):
        simulate_screen(tmp_path, tiny_spec())
    with pytest.raises(ConfigError, match="not a simulated screen"):
        simulate_screen(tmp_path, tiny_spec(), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ConfigError, match="is a file"):
        simulate_screen(tmp_path / "thesis.tex", tiny_spec())


def test_wanted_frames_reach_the_table(tmp_path):
    screen = simulate_screen(tmp_path / "s", tiny_spec(wells_per_plate=1, wanted_frames=(1, 3)))
    (task,) = tasks_from_table(read_table(screen.table_path))
    assert task.frames == (1, 3)


def test_command_line(tmp_path, capsys):
    folder = tmp_path / "screen"
    options = ["--tiny", "--wells-per-plate", "1", "--frames", "2", "--invalid-frames", "2"]
    assert main(["simulate", str(folder), *options, "--empty-wells", "A4, A15"]) == 0
    said = capsys.readouterr().out
    assert str(folder / "data_to_process.tsv") in said
    (movie,) = folder.rglob("*.ch5")
    with h5py.File(movie) as file:
        assert file["sample/0/plate"].name
        assert list(_position(file)["image/channel"].attrs["valid"]) == [1.0, 0.0]
    assert main(["simulate", str(folder), *options]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["simulate", str(folder), *options, "--force"]) == 0


def test_command_line_names_the_wrong_field(tmp_path, capsys):
    assert main(["simulate", str(tmp_path / "s"), "--vignetting", "2"]) == 2
    assert "vignetting: 2.0 is outside 0 to 0.8" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_tables_between_the_pixels_have_the_same_content(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(1, 255, (3, 40, 60), dtype=np.uint8)
    masks = np.zeros((3, 40, 60), np.uint16)
    masks[:, 5:15, 5:15], masks[1, 20:30, 30:50] = 1, 2
    valid = np.array([True, True, False])
    for name in ("plain", "between"):
        write_cellh5(
            tmp_path / name, frames, masks, valid=valid, screen="P--x", well_number=4,
            interleaved=name == "between",
        )  # fmt: skip
    with h5py.File(tmp_path / "plain") as plain, h5py.File(tmp_path / "between") as between:
        one, other = _position(plain), _position(between)
        for table in ("object/primary__primary", "feature/primary__primary/center"):
            np.testing.assert_array_equal(one[table], other[table])
        assert len(other["image/time_lapse"]) == valid.sum()
        assert other["feature/primary__primary/object_features"].shape == (3, 239)
        np.testing.assert_array_equal(one["image/channel"], other["image/channel"])
