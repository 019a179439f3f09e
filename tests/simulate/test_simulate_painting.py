"""A simulated Cell Painting screen: what is in it, its files, its truth."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import tifffile
from movie_files import bioformats_jar  # noqa: F401, a fixture
from scipy import ndimage

from idrstream import BioFormatsReader, read_table
from idrstream.cli.main import main
from idrstream.errors import ConfigError, MovieError
from idrstream.formats.make import make_reader
from idrstream.screen import tasks_from_table
from idrstream.screen.channels import channel_names
from idrstream.simulate import (
    CHANNELS,
    PaintingSpec,
    load_field_truth,
    simulate_field,
    simulate_painting,
    tiny_painting,
    treatment_of,
)


def _digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def spec():
    return tiny_painting(plates=2, wells_per_plate=2, fields=2)


@pytest.fixture(scope="module")
def screen(tmp_path_factory, spec):
    return simulate_painting(tmp_path_factory.mktemp("a b") / "screen", spec)


@pytest.fixture(scope="module")
def bright():
    """A field without noise and vignetting, as light above what every pixel has."""
    field = simulate_field(PaintingSpec(noise=0, vignetting=0, planes=3, blur_px=0.5))
    return field, field.pixels[:, 1].astype(float) - field.pixels[:, 1].min(axis=(1, 2))[
        :, None, None
    ]


def test_a_nucleus_lies_in_its_cell_and_both_in_one_piece(bright):
    field, _ = bright
    n = len(field.positions)
    assert n > 30
    assert field.nuclei.max() == n
    assert field.cells.max() >= n
    inside = field.nuclei > 0
    np.testing.assert_array_equal(field.cells[inside], field.nuclei[inside])
    for label in range(1, n + 1):
        assert ndimage.label(field.cells == label)[1] == 1
        assert (field.cells == label).sum() >= (field.nuclei == label).sum()
    whole = np.bincount(field.cells.ravel())[1 : n + 1].sum()
    assert 2 < whole / inside.sum() < 8


def test_each_channel_is_bright_where_its_organelle_is(bright):
    field, light = bright
    dna, er, rna, agp, mito = light
    nucleus = field.nuclei > 0
    distance = ndimage.distance_transform_edt(~nucleus)
    cytoplasm = (field.cells > 0) & ~nucleus
    near, far = cytoplasm & (distance < 6), cytoplasm & (distance > 14)
    assert dna[nucleus].mean() > 10 * dna[cytoplasm].mean()
    assert er[near].mean() > 1.5 * max(er[far].mean(), er[nucleus].mean())
    assert rna[nucleus].max() > 1.8 * np.median(rna[nucleus])  # nucleoli
    assert rna[cytoplasm].mean() > 0.4 * rna[nucleus].mean()
    border = (field.cells > 0) & (ndimage.minimum_filter(field.cells, 3) == 0)
    assert agp[border].mean() > 1.5 * agp[cytoplasm].mean()
    assert mito[near].mean() > 3 * mito[nucleus].mean()
    # Threads, not a smooth cloud.
    assert mito[near].std() / mito[near].mean() > 2 * rna[near].std() / rna[near].mean()
    assert (light[:, field.cells == 0].mean(1) < light[:, field.cells > 0].mean(1) / 4).all()


def test_treatments_do_what_they_say():
    spec = PaintingSpec(noise=0, vignetting=0, planes=1, height=768, width=768, nuclei_per_frame=60)
    fields = {
        treatment_of(number).name: simulate_field(spec, well=f"A{number}")
        for number in (1, 2, 4, 6)
    }

    def measured(name):
        field = fields[name]
        nucleus, cell = field.nuclei > 0, field.cells > 0
        light = field.pixels[:, 0].astype(float)
        light -= light.min(axis=(1, 2))[:, None, None]
        mean = light[:, cell & ~nucleus].mean(axis=1)
        return np.array([cell.sum(), nucleus.sum() / len(field.positions), *mean])

    control = measured("negative control")
    large, mito, small = (
        measured(name) / control for name in ("large cells", "bright mitochondria", "small nuclei")
    )
    assert large[0] > 1.3
    assert 0.85 < large[1] < 1.15
    assert mito[2 + CHANNELS.index("Mito")] == pytest.approx(1.8, rel=0.2)
    np.testing.assert_allclose(np.delete(mito, 2 + CHANNELS.index("Mito")), 1, atol=0.2)
    assert small[1] == pytest.approx(0.75**2, rel=0.2)
    assert treatment_of(1) == treatment_of(3) == treatment_of(7)
    assert treatment_of(9) == treatment_of(2)


def test_planes_away_from_the_focus_are_blurred():
    field = simulate_field(tiny_painting(planes=3, noise=0))
    edges = [[ndimage.laplace(plane.astype(float)).std() for plane in c] for c in field.pixels]
    for below, focus, above in edges:
        assert focus > 2 * below
        assert below == pytest.approx(above)


def test_same_seed_same_bytes(spec, screen, tmp_path):
    again = simulate_painting(tmp_path / "again", spec)
    assert _digests(screen.folder) == _digests(again.folder)
    other = simulate_field(tiny_painting(seed=1))
    assert (other.pixels != simulate_field(tiny_painting()).pixels).any()


def test_the_table_can_be_processed(screen):
    tasks = tasks_from_table(read_table(screen.table_path))
    assert [(task.plate, task.well, task.site) for task in tasks[:4]] == [
        ("CP0001", "A1", 1), ("CP0001", "A1", 2), ("CP0001", "A2", 1), ("CP0001", "A2", 2),
    ]  # fmt: skip
    assert len(tasks) == len(screen.movies) == 8
    for task, path in zip(tasks, screen.movies, strict=True):
        assert screen.folder / task.metadata["Path"] == path
        assert channel_names(task.metadata) == CHANNELS
        truth = load_field_truth(screen.truth_of(task.plate, task.well_number, task.site))
        assert truth.treatment.name == task.metadata["Original Gene Target"]
        assert (truth.treatment.name == "negative control") == (
            task.metadata["Control Type"] == "negative control"
        )


@pytest.mark.parametrize("file_format", ["cellh5", "ome-tiff"])
def test_pixels_and_truth_come_back(tmp_path, file_format):
    spec = tiny_painting(wells_per_plate=2, fields=2, file_format=file_format)
    screen = simulate_painting(tmp_path / "screen", spec)
    field = simulate_field(spec, well="A2", site=2)
    path = screen.movies[3]
    kind = "cellh5" if file_format == "cellh5" else "tiff"
    for channel in range(5):
        for plane in range(2):
            read = make_reader(kind, channel=channel, z=plane).read(path, [1])[1]
            np.testing.assert_array_equal(read, field.pixels[channel, plane])
    if file_format == "ome-tiff":
        with tifffile.TiffFile(path) as file:
            assert file.is_ome
            assert file.series[0].axes == "CZYX"
            np.testing.assert_array_equal(file.asarray(), field.pixels)
            assert [name in file.ome_metadata for name in CHANNELS] == [True] * 5
    truth = load_field_truth(screen.truth_of("CP0001", 2, 2))
    for name in ("nuclei", "cells", "positions", "flatfields"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(field, name))
    assert truth.treatment.cell_size == field.treatment.cell_size == 1.3
    with pytest.raises(MovieError, match="not the truth of a simulated field"):
        load_field_truth(screen.truth_of("CP0001", 3))


def test_bio_formats_reads_the_same_pixels(bioformats_jar, tmp_path):  # noqa: F811
    spec = tiny_painting(wells_per_plate=1, file_format="ome-tiff")
    screen = simulate_painting(tmp_path / "screen", spec)
    field = simulate_field(spec)
    for channel, plane in ((1, 0), (4, 1)):
        reader = BioFormatsReader(bioformats_jar, channel=channel, z=plane)
        read = reader.read(screen.movies[0], [1])[1]
        reader.close()
        np.testing.assert_array_equal(read, field.pixels[channel, plane])


def test_the_command_writes_a_screen_and_replaces_only_its_own(tmp_path, capsys):
    folder = tmp_path / "screen"
    command = ["simulate", str(folder), "--channels", "5", "--tiny", "--wells-per-plate", "1"]
    assert main(command) == 0
    assert "1 fields:" in capsys.readouterr().out
    first = _digests(folder)
    (folder / "note.txt").write_text("mine")
    assert main(command) == 2
    assert main([*command, "--force", "--file-format", "ome-tiff"]) == 0
    left = _digests(folder)
    assert left.pop("note.txt")
    assert {name.replace(".ome.tiff", ".ch5") for name in left} == set(first)
    assert main([*command, "--force", "--frames", "3"]) == 2
    assert "--frames is no option with --channels 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cell_diameter_px": 20.0}, "cell_diameter_px"),
        ({"nuclei_per_frame": 900}, "nuclei_per_frame"),
        ({"file_format": "jpeg"}, "file_format"),
        ({"fields": 0}, "fields"),
        ({"planes": 1.5}, "planes"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        tiny_painting(**changes)
