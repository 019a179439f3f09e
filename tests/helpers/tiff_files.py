"""OME-TIFF as microscopes' software writes it in several files; tifffile writes one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile


def ome_xml(
    shape: Sequence[int],
    *,
    order: str = "XYZCT",
    uuid: str = "",
    blocks: str = "",
    images: Sequence[str] = (),
    names: Sequence[str] = (),
) -> str:
    """Return OME-XML of images of the shape (c, t, z, y, x); `images` has each one's blocks."""
    c, t, z, y, x = shape
    channels = "".join(
        f'<Channel ID="Channel:0:{i}" SamplesPerPixel="1"'
        + (f' Name="{names[i]}"' if names else "")
        + "/>"
        for i in range(c)
    )
    body = "".join(
        f'<Image ID="Image:{i}"><Pixels ID="Pixels:{i}" DimensionOrder="{order}" Type="uint16" '
        f'SizeC="{c}" SizeT="{t}" SizeZ="{z}" SizeY="{y}" SizeX="{x}" BigEndian="false">'
        f"{channels}{text}</Pixels></Image>"
        for i, text in enumerate(images or [blocks])
    )
    of = f' UUID="{uuid}"' if uuid else ""
    return f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{of}>{body}</OME>'


def write_ome_set(folder: Path, pixels: np.ndarray, names: Sequence[str] = ()) -> list[Path]:
    """Write an image of the shape (c, t, z, y, x), uint16, a file for each channel and plane.

    Each file has the frames of its channel and plane, and the metadata of all files.
    """
    c, t, z = pixels.shape[:3]
    places = [(channel, plane) for channel in range(c) for plane in range(z)]
    file = {at: f"set_c{at[0]}_z{at[1]}.ome.tif" for at in places}
    blocks = "".join(
        f'<TiffData FirstC="{at[0]}" FirstZ="{at[1]}" FirstT="{frame}" IFD="{frame}" '
        f'PlaneCount="1"><UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>'
        for at, name in file.items()
        for frame in range(t)
    )
    paths = []
    for (channel, plane), name in file.items():
        xml = ome_xml(pixels.shape, uuid=f"urn:uuid:{name}", blocks=blocks, names=names)
        paths.append(folder / name)
        tifffile.imwrite(
            paths[-1], pixels[channel, :, plane], description=xml, metadata=None,
            photometric="minisblack",
        )  # fmt: skip
    return paths
