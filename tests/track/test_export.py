"""Tracks of a small movie as others read them."""

import io
import shutil
import subprocess

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import tifffile

from idrstream.cli.main import main
from idrstream.compile.masks import MaskFolder, masks_path
from idrstream.errors import JournalError, StorageError
from idrstream.records import Frame, ImageTask
from idrstream.segment import objects_in
from idrstream.track import (
    NucleusTracker,
    export_ctc,
    export_geff,
    film_mp4,
    lineage_svg,
    read_tracks,
)
from idrstream.track.batch import BatchTracks, tracks_path

# A nucleus that divides (frames 1-3, then 4-6), and one that is not found in frame 3.
PLACES = {
    1: [(20, 20), (60, 20)],
    2: [(20, 21), (60, 21)],
    3: [(20, 22)],
    4: [(15, 22), (25, 22), (60, 22)],
    5: [(13, 22), (27, 22), (61, 22)],
    6: [(12, 22), (28, 22), (61, 23)],
}


@pytest.fixture
def folder(tmp_path):
    task = ImageTask("0001", "A4", 4, tuple(PLACES), every=1)
    tracks = BatchTracks(NucleusTracker(), films=1)
    masks = MaskFolder(tmp_path / "masks_in_progress")
    for number in reversed(PLACES):  # in any order
        labels = np.zeros((80, 60), np.int32)
        for label, (y, x) in enumerate(PLACES[number], start=1):
            half = 3 if number > 3 and y < 40 else 4
            labels[y - half : y + half + 1, x - half : x + half + 1] = label
        pixels = (20 + 100 * (labels > 0)).astype(np.uint8)
        frame, objects = Frame(pixels[None], number, task), objects_in(labels)
        tracks.add(frame, objects)
        masks.add(frame, objects)
    tracks.columns([task])
    tracks.publish(tracks_path(tmp_path, 0), 0)
    masks.publish(masks_path(tmp_path, 0))
    return tmp_path


def test_the_tables_tell_the_story(folder):
    tracks = read_tracks(folder)
    assert tracks["Parent"].tolist() == [0, 0, 1, 1]
    assert tracks["Generation"].tolist() == [0, 0, 1, 1]
    assert tracks["Divides"].tolist() == [1, 0, 0, 0]
    assert tracks[["First_Frame", "Last_Frame", "Frames"]].values.tolist() == [
        [1, 3, 3], [1, 6, 5], [4, 6, 3], [4, 6, 3],
    ]  # fmt: skip
    mother = tracks.iloc[0]
    assert mother["Displacement_Px"] == pytest.approx(2)
    assert mother["Speed_Px_Per_Frame"] == pytest.approx(1)
    assert mother["Confinement_Ratio"] == pytest.approx(1)
    assert mother["MSD_1_Px2"] == pytest.approx(1)
    assert mother["MSD_2_Px2"] == pytest.approx(4)
    assert np.isnan(mother["MSD_4_Px2"])
    assert read_tracks(folder, "objects")["Intensity"].round(6).unique().tolist() == [100]


def test_the_challenges_format(folder, tmp_path):
    (result,) = export_ctc(folder, tmp_path / "ctc")
    text = (result / "res_track.txt").read_text()
    lines = [tuple(map(int, line.split())) for line in text.splitlines()]
    # The track with a gap goes on as another, whose parent it is.
    assert lines == [(1, 0, 2, 0), (2, 0, 1, 0), (3, 3, 5, 2), (4, 3, 5, 1), (5, 3, 5, 1)]
    for track, first, last, _ in lines:
        for image in range(6):
            there = (tifffile.imread(result / f"mask{image:03d}.tif") == track).any()
            assert there == (first <= image <= last)


def test_a_graph_in_geff(folder, tmp_path):
    import geff

    (path,) = export_geff(folder, tmp_path / "geff")
    geff.validate_structure(path)
    graph, _ = geff.read(path, backend="networkx")
    assert graph.number_of_nodes() == sum(map(len, PLACES.values()))
    assert nx.number_weakly_connected_components(graph) == 2
    (mother,) = [node for node, degree in graph.out_degree if degree == 2]
    assert graph.nodes[mother]["t"] == 2


def test_the_command_lists_and_exports(folder, tmp_path, capsys):
    assert main(["tracks", str(folder)]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["Movie", "Frames", "Tracks", "Divisions", "Median_Frames"]
    assert line.split() == ["0001_A4_1", "6", "4", "1", "3.0"]
    ctc, geff = tmp_path / "ctc", tmp_path / "geff"
    formats = ["--ctc", str(ctc), "--geff", str(geff)]
    assert main(["tracks", str(folder), "--movie", "0001_A4_1", *formats]) == 0
    written = [ctc / "0001_A4_1_RES", geff / "0001_A4_1.geff"]
    assert capsys.readouterr().out.splitlines() == list(map(str, written))
    assert all(path.is_dir() for path in written)
    assert main(["tracks", str(folder), "--movie", "0001_A5_1", *formats]) == 8
    assert "no tracks of 0001_A5_1; it has 0001_A4_1" in capsys.readouterr().err


def test_a_name_that_leads_out_of_the_folder(folder, tmp_path):
    path = tracks_path(folder, 0) / "objects.csv"
    path.write_text(path.read_text().replace("0001,", "../../0001,"))
    with pytest.raises(StorageError, match="0001"):
        export_ctc(folder, tmp_path / "a" / "b")
    assert not (tmp_path / "0001_A4_1_RES").exists()


def test_a_film_and_a_tree(folder):
    from PIL import Image

    with Image.open(tracks_path(folder, 0) / "film.webp") as film:
        assert film.n_frames == len(PLACES)
        colours = set(film.convert("RGB").getdata())
    assert len(colours) > 50  # outlines in colour over grey
    if shutil.which("ffmpeg"):
        film = (tracks_path(folder, 0) / "film.mp4").read_bytes()
        assert film[4:8] == b"ftyp"
    tree = lineage_svg(read_tracks(folder), 1)
    assert tree.count('stroke-dasharray="2 2"') == 2
    assert ">3</text>" in tree
    assert ">4</text>" in tree


@pytest.mark.parametrize(
    ("numbers", "every", "pictures"),
    [
        (range(1, 301), 1, 75),  # every fourth: of every second there are more than 128
        (range(2, 401, 2), 0, 100),
        (range(3, 700, 4), 0, 88),
        (range(1, 700, 4), 4, 88),
    ],
)
def test_a_film_of_a_long_movie_is_bounded_whatever_the_order(tmp_path, numbers, every, pictures):
    from PIL import Image

    task = ImageTask("0001", "A4", 4, () if every else tuple(numbers), every=every)
    films = []
    for name, ordered in (("up", numbers), ("down", reversed(numbers))):
        tracks = BatchTracks(NucleusTracker(), films=1)
        for number in ordered:
            pixels = np.random.default_rng(number).integers(0, 200, (1, 32, 32), np.uint8)
            tracks.add(Frame(pixels, number, task), objects_in(np.zeros((32, 32), np.int32)))
        tracks.columns([task])
        tracks.publish(tracks_path(tmp_path / name, 0), 0)
        films.append((tracks_path(tmp_path / name, 0) / "film.webp").read_bytes())
    assert films[0] == films[1]
    with Image.open(io.BytesIO(films[0])) as film:
        assert film.n_frames == pictures


def test_mp4_only_where_ffmpeg_is_and_works(tmp_path, monkeypatch, caplog):
    from PIL import Image

    pictures = [Image.new("RGB", (31, 21), (shade, 0, 0)) for shade in (0, 255)]
    if shutil.which("ffmpeg"):
        (tmp_path / "film.mp4").write_bytes(film_mp4(pictures))
        command = ["ffmpeg", "-loglevel", "error", "-i", str(tmp_path / "film.mp4")]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
        shown = subprocess.run(command, capture_output=True, check=True).stdout
        red = np.frombuffer(shown, np.uint8).reshape(2, 22, 32, 3)[
            :, 2:-2, 2:-2, 0
        ]  # odd sizes, too
        assert red[0].max() < 40
        assert red[1].min() > 200
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho no such codec >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert film_mp4(pictures) is None
    assert "no such codec" in caplog.text
    broken.unlink()
    caplog.clear()
    assert film_mp4(pictures) is None
    assert not caplog.text


def test_a_folder_without_tracks(tmp_path):
    with pytest.raises(JournalError, match="track = true"):
        read_tracks(tmp_path)
    with pytest.raises(JournalError):
        export_ctc(tmp_path, tmp_path)


def test_likeness_to_mitosis_and_frames_in_it(folder):
    from idrstream.track.measure import mitotic_likeness, track_table

    area, bright = np.array([100.0] * 9 + [40]), np.array([50.0] * 9 + [130])
    likeness = mitotic_likeness(area, bright)
    assert likeness[:9].max() < 0.1
    assert likeness[9] > 0.9
    objects = read_tracks(folder, "objects").assign(Mitotic=0.0)
    mother = (objects["Track"] == 1) & (objects["Frame"] >= 2)
    table = track_table(objects.assign(Mitotic=mother.astype(float)))
    assert table["Mitotic_Frames"].tolist()[0] == 2
    assert table["Mitotic_Frames"].isna().tolist() == [False, True, True, True]
    assert isinstance(table, pd.DataFrame)
