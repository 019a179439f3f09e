"""``idrstream demo``: stream a simulated screen and score the result against its truth."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from idrstream.cli.options import as_folder
from idrstream.cli.terminal import say
from idrstream.demo.nuclei import MARKER
from idrstream.errors import ConfigError
from idrstream.text import counted

# Option, field of the spec of nuclei and of Cell Painting, what it is.
_SIZES = (
    ("plates", "plates", "plates", "plates"),
    ("wells", "wells_per_plate", "wells_per_plate", "wells of each plate"),
    ("frames", "frames", "", "frames of each movie"),
    ("fields", "", "fields", "fields of each well"),
    ("height", "height", "height", "height of a frame in pixels"),
    ("width", "width", "width", "width of a frame in pixels"),
    ("nuclei", "nuclei_per_frame", "nuclei_per_frame", "nuclei in a frame"),
    ("seed", "seed", "seed", "seed of the simulation"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder and the size of the screen."""
    from idrstream.simulate.painting_spec import PaintingSpec
    from idrstream.simulate.spec import ScreenSpec

    parser.add_argument(
        "folder", nargs="?", type=as_folder, default=Path("idrstream_demo"), metavar="FOLDER",
        help="folder for the screen and its results [idrstream_demo]",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace an earlier demo there")
    parser.add_argument(
        "--channels", type=int, choices=(1, 5), default=1,
        help="1: movies of nuclei; 5: Cell Painting, with cells and features of two kinds [1]",
    )  # fmt: skip
    nuclei, painting = ScreenSpec(), PaintingSpec()
    for name, one, five, text in _SIZES:
        usual = [str(getattr(nuclei, one))] if one else []
        usual += [f"{getattr(painting, five)} of 5 channels"] if five else []
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"{text} [{', '.join(usual)}]")


def handle(namespace: argparse.Namespace) -> int:
    """Run the demo and print its result and score."""
    from idrstream.cli.run import summary
    from idrstream.demo import nuclei, painting
    from idrstream.simulate import PaintingSpec, ScreenSpec

    several = namespace.channels > 1
    sizes = {}
    for name, one, five, _ in _SIZES:
        value, field = getattr(namespace, name), five if several else one
        if value is not None and not field:
            msg = f"--{name} is no option with --channels {namespace.channels}"
            raise ConfigError(msg)
        if value is not None:
            sizes[field] = value
    spec = PaintingSpec(**sizes) if several else ScreenSpec(**sizes)
    prepare(namespace.folder, force=namespace.force)
    plates = counted(spec.plates, "plate")
    say(f"Simulating {plates} of {counted(spec.wells_per_plate, 'well')} ...\n")
    sys.stdout.flush()
    progress = sys.stderr.isatty()
    done: nuclei.Demo | painting.PaintingDemo
    if isinstance(spec, PaintingSpec):
        painted = painting.run_demo(namespace.folder, spec, progress=progress)
        done, said = painted, painting.verdict(painted)
    else:
        demo = nuclei.run_demo(namespace.folder, spec, progress=progress)
        done, said = demo, nuclei.verdict(demo)
    say(summary(done.result, done.features))
    say(said)
    say(nuclei.next_steps(done.report, done.settings, done.features, collected=several))
    return 1 if done.result.rerun_batches else 0


def prepare(folder: Path, *, force: bool) -> None:
    """Remove an earlier demo if forced; never any other folder."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / MARKER).is_file():
        msg = f"{folder} has files that are not a demo of idrstream; name another folder"
        raise ConfigError(msg)
    if not force:
        msg = f"{folder} already has a demo; name another folder or give --force to replace it"
        raise ConfigError(msg)
    shutil.rmtree(folder)
