"""Write ``folder_v2.tar.gz``: the output folder of a stream with one batch left to do.

Run once with the code of the version to keep, from any folder::

    PYTHONPATH=<that version> python tests/folder/golden/make_folder.py folder_v2.tar.gz

Paths in the archive start with `WORK`, which a test stands in for with options, as a user does
who moved an output folder to another machine.
"""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

WORK = Path("/tmp/idrstream-golden")

SPEC = {
    "plates": 1, "wells_per_plate": 3, "frames": 1, "height": 128, "width": 128,
    "nuclei_per_frame": 4, "seed": 7,
}  # fmt: skip

SETTINGS = """
[stream]
table = "screen/{table}"
final_data_dir = "features"
tmp_dir = "tmp"
batch_size = 1
pictures = "0"
[download]
method = "local"
root = "screen"
screens_path = "screen/{screens}"
[preprocess]
illumination_context = "frames"
[segment]
diameter = 17
[profile]
engine = "torch"
dp_config = "{config}"
"""


def main(archive: Path) -> None:
    """Stream two of three batches and pack the output folder."""
    from idrstream import ScreenSpec, simulate_screen
    from idrstream.demo import config_for

    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    screen = simulate_screen(WORK / "screen", ScreenSpec(**SPEC))
    config = config_for(SPEC["height"], SPEC["width"], WORK)
    (WORK / "stream.toml").write_text(
        SETTINGS.format(
            table=screen.table_path.relative_to(screen.folder),
            screens=screen.screens_path.relative_to(screen.folder),
            config=config.name,
        )
    )
    command = [sys.executable, "-m", "idrstream", "run", "stream.toml", "--batch-nums", "0,1"]
    subprocess.run([*command, "--progress", "false"], cwd=WORK, check=True)
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(WORK / "features", "features")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
