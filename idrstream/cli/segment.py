"""``idrstream segment``: a large image, or a few, to cells and features, in one command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.cli.options import add_section_options, as_folder, given_options
from idrstream.cli.parser import Parser
from idrstream.cli.run import add_profile_option, report, steps_measured
from idrstream.cli.terminal import say
from idrstream.config.load import layered
from idrstream.errors import ConfigError
from idrstream.tiles.grid import SIDE_PX

if TYPE_CHECKING:
    import pandas as pd

_OURS = ("channel", "image_channels", "segment_channel", "tile_px")
_SHOWN = ("model_type", "diameter", "cells", "engine", "cores", "pixel_size_um", "gpu")
_MOST = 384


def add_arguments(parser: Parser) -> None:
    """Add the images, the channel, the folders and the settings of the steps."""
    parser.description = (
        "Segment images of any size by tiles and measure their cells: a table with positions in "
        "the whole image, and the label image as an OME-NGFF pyramid. For many images, or a "
        "stream to continue on a cluster, write a table and use idrstream run with tile_px."
    )
    parser.usage = "%(prog)s IMAGE [IMAGE ...] [options]"
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="TIFF or OME-Zarr: path or URL")
    parser.add_argument(
        "--channel", default="0", metavar="NAME",
        help="channel that is segmented: its name in the image or its number, from 0 [0]",
    )  # fmt: skip
    parser.add_argument(
        "--and-channels", default="", metavar="NAME=CHANNEL,...",
        help="further channels that features are measured in, such as ER=2,AGP=Phalloidin",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=as_folder, help="folder of the results [IMAGE.idrstream beside the first]"
    )
    add_profile_option(parser)
    parser.add_argument("--tile-px", default=str(SIDE_PX), help=f"side of the tiles [{SIDE_PX}]")
    ours = {f"--{name.replace('_', '-')}" for name in _OURS}
    for section in ("preprocess", "segment", "profile", "stream", "download"):
        add_section_options(
            parser, section, without=ours | {"--table", "--final-data-dir"}, shown=_SHOWN
        )


def handle(namespace: argparse.Namespace) -> int:
    """Run the stream of the images and say what came of it."""
    from idrstream.run.log import errors_logged
    from idrstream.stream.build import build_stream, run_options
    from idrstream.stream.stream import IdrStream

    images = [_address(image) for image in namespace.images]
    out = namespace.out or _beside(images[0])
    more = [f"{one}" for one in namespace.and_channels.split(",") if one]
    raw = {
        "stream": {
            "table": str(out / "images.csv"),
            "final_data_dir": str(out),
            "tmp_dir": str(out.with_name(f"{out.name}.tmp")),
            "keep_masks": True,
            # Tiles wait in memory until they are measured: pixels and labels of a batch or two.
            "batch_size": 2,
            "batches_in_flight": 2,
        },
        "preprocess": {
            "tile_px": namespace.tile_px,
            "image_channels": (f"DNA={namespace.channel}", *more),
            "perform_illumination_correction": False,
        },
    }
    options = {k: v for k, v in given_options(namespace).items() if k not in _OURS}
    settings = layered(raw, None, options, "the options")
    stream = build_stream(IdrStream, settings)
    with closing(stream), errors_logged(), steps_measured(namespace.profile, show=True):
        result = stream.run_stream(table_of(images), **run_options(settings.stream))
    say(f"Label images are in {out / 'labels'}\n")
    return report(result, settings.stream.final_data_dir)


def table_of(images: Sequence[str]) -> pd.DataFrame:
    """Return the table of some images: the wells of a plate, in order."""
    import pandas as pd

    if len(images) > _MOST:
        raise ConfigError(f"at most {_MOST} images can be given; write a table for more")
    numbers = range(1, len(images) + 1)
    return pd.DataFrame(
        {
            "Plate": [_stem(image) for image in images],
            "Well": ["A1"] * len(images),
            "Frames": ["1"] * len(images),
            "URL" if all("://" in image for image in images) else "Path": list(images),
            "Site": [str(number) for number in numbers],
        }
    )


def _address(image: str) -> str:
    return image if "://" in image else str(Path(image).expanduser().absolute())


def _stem(image: str) -> str:
    name = image.rstrip("/").rpartition("/")[2]
    for end in (".tif", ".tiff", ".btf", ".zarr", ".ome"):
        name = name[: -len(end)] if name.lower().endswith(end) else name
    return name or "image"


def _beside(image: str) -> Path:
    if "://" in image:
        return Path(f"{_stem(image)}.idrstream").absolute()
    return Path(image).with_name(f"{_stem(image)}.idrstream")
