"""Typical mistakes, and every word of what a person reads then."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from idrstream.cli.main import main

GOLDEN = Path(__file__).with_name("mistakes")
TABLE = "Plate,Well,Frames,Path\nP1,A1,1,images/a.tif\n"
SETTINGS = {
    "stream": ['table = "table.csv"', 'final_data_dir = "out"', 'tmp_dir = "tmp"',
               "progress = false"],
    "download": ['method = "local"', 'root = "images"'],
    "preprocess": ["perform_illumination_correction = false"],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with a table, its image and settings that are right."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("IDRSTREAM_")]:
        monkeypatch.delenv(variable)
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.random.default_rng(0).integers(100, 4000, (64, 80), dtype=np.uint16)
    tifffile.imwrite(images / "a.tif", pixels)
    (tmp_path / "table.csv").write_text(TABLE.replace("images/", ""))
    write()
    return tmp_path


def write(top="", **more):
    """Write the settings, with more lines in some sections."""
    lines = [top]
    for name, usual in SETTINGS.items():
        # A later line of a key stands in place of the usual one.
        keys = {line.split(" = ")[0]: line for line in [*usual, *more.get(name, [])]}
        lines += [f"[{name}]", *keys.values()]
    lines += ["[profile]", *more["profile"]] if "profile" in more else []
    Path("stream.toml").write_text("\n".join([*lines, ""]))


def wrong_key(_folder):
    write(stream=["batchsize = 3"])


def outside_of_a_section(_folder):
    write("batch_size = 3")


def wrong_column(folder):
    (folder / "table.csv").write_text(TABLE.replace("Frames", "Frame"))


def wrong_folder(_folder):
    write(stream=['table = "images"'])


def wrong_format(folder):
    (folder / "images" / "a.tif").write_text("<html>not found</html>" * 100)


def missing_channel(_folder):
    write(preprocess=['image_channels = ["DNA=0", "ER=1"]'])


def wrong_jar(folder):
    shutil.copy(folder / "images" / "a.tif", folder / "b.jar")
    write(preprocess=['reader = "bioformats"', 'bioformats_jar = "b.jar"'])


def no_network(_folder):
    write(
        download=[
            'method = "https"', 'https_root = "http://127.0.0.1:9/"', "download_attempts = 1",
        ]
    )  # fmt: skip


def too_little_disk(_folder):
    write(stream=['disk_budget = "1kB"'])


def wrong_size(folder):
    """Two images of a plate differ, and its light is learnt from all of them."""
    tifffile.imwrite(folder / "images" / "b.tif", np.full((32, 40), 9, np.uint16))
    (folder / "table.csv").write_text(TABLE.replace("images/", "") + "P1,A2,1,b.tif\n")
    write(preprocess=['illumination_context = "plate"', "perform_illumination_correction = true"])


def folder_for_a_file(_folder):
    write(profile=['dp_config = "images"'])


def file_for_a_folder(_folder):
    write(download=['root = "table.csv"'])


def memory_without_a_size(_folder):
    write()
    with Path("stream.toml").open("a") as file:
        file.write('[cluster]\nexecutor = "processes"\nworker_memory = "little"\n')


HAS_JAVA = shutil.which("java") is not None
MISTAKES = (
    wrong_key, outside_of_a_section, wrong_column, wrong_folder, wrong_format, missing_channel,
    wrong_jar, no_network, too_little_disk, memory_without_a_size, wrong_size, folder_for_a_file,
    file_for_a_folder,
)  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_what_is_printed(mistake, folder, capsys):
    if mistake is wrong_jar and not HAS_JAVA:
        pytest.skip("java is not installed")
    mistake(folder)
    assert main(["plan", "stream.toml"]) != 0
    captured = capsys.readouterr()
    compare(mistake.__name__, captured.out + captured.err, folder)


def compare(name, said, folder):
    """Compare what is said with what a person has read."""
    text = plain(said, folder)
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_too_little_memory(folder, capsys, monkeypatch):
    monkeypatch.setattr("idrstream.forecast.checks.free_memory_bytes", lambda: -(1 << 20))
    assert main(["plan", "stream.toml"]) == 1
    text = re.sub(r"[\d.]+ [kMG]?B free, at least [\d.]+ [kMG]?B", "1 GB free, at least 2 GB",
                  capsys.readouterr().out)  # fmt: skip
    compare("too_little_memory", text, folder)


def test_no_java(folder):
    """A real start on a machine without Java: where there is one, it is out of sight."""
    (folder / "b.jar").touch()
    write(preprocess=['reader = "bioformats"', 'bioformats_jar = "b.jar"'])
    command = [sys.executable, "-m", "idrstream", "plan", "stream.toml"]
    if Path("/usr/lib/jvm").is_dir():
        hide = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs none /usr/lib/jvm && exec "$@"', "sh"]
        if subprocess.run([*hide, "true"], capture_output=True, check=False).returncode:
            pytest.skip("Java cannot be hidden: no mount namespaces here")
        command = [*hide, *command]
    path = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, env=path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    compare("no_java", ended.stdout + ended.stderr, folder)


def plain(text, folder):
    """Return what is said of the mistake: without checks that are ok, sizes and folders."""
    kept = [line.rstrip() for line in text.splitlines() if not line.startswith("  ok")]
    facts = ("images ", "batches ", "download ", "peak disk", "output ", "time ")
    kept = [re.sub(r" {2,}", "  ", line) for line in kept if not line.startswith(facts)]
    return "\n".join(kept).replace(str(folder), "FOLDER") + "\n"
