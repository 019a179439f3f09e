"""Example pictures of frames, and the illumination of each plate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.errors import StorageError
from idrstream.opening import read_regular
from idrstream.quality.pictures import picture_paths, shown_nuclei
from idrstream.report import charts
from idrstream.report.findings import plate_shading, shading_drift

if TYPE_CHECKING:
    from idrstream.report.data import FolderData


EXAMPLES = 36  # most frames on the page
_MOST_BYTES = 1 << 20  # of a picture, which has some 20 kB


def examples(data: FolderData) -> tuple[str, list[dict[str, Any]]]:
    """Return pictures of frames with the lowest ranks, taking plates in turn."""
    ordered = data.frames.sort_values("Key")
    ordered = ordered.assign(Turn=ordered.groupby("Plate").cumcount())
    ordered = ordered.sort_values(["Turn", "Key"])
    found: list[dict[str, Any]] = []
    for row in ordered.itertuples(index=False):
        if len(found) >= EXAMPLES:
            break
        example = _example(data.folder, row, data.measured_channels)
        if example is not None:
            found.append(example)
    around = (
        "nuclei and what is around them" if data.measured_channels else "nuclei in original size"
    )
    text = (
        f"{len(found)} frames drawn at random, each plate in turn, with the outlines of the nuclei "
        f"found; below them {around} of the same frame. The choice depends only on "
        "plate, well, site and frame. Nuclei are numbered by the frame's rows in its batch table, "
        "from 1."
    )
    if data.measured_channels:
        text += f" Rows of nuclei are the channels: {', '.join(data.measured_channels)}."
    return text, found


def _example(folder: Path, row: Any, channels: Sequence[str]) -> dict[str, Any] | None:
    try:
        frame_path, crops_path = picture_paths(folder, row.Key)
        frame = read_regular(frame_path, _MOST_BYTES)
        crops = read_regular(crops_path, _MOST_BYTES) if crops_path.is_file() else b""
    except (OSError, StorageError):
        return None
    numbers = ", ".join(map(str, shown_nuclei(row.Key, int(row.Nuclei))))
    site = f", site {row.Site}" if int(row.Site) != 1 else ""
    where = f"Plate {row.Plate}, well {row.Well}{site}, frame {row.Frame}"
    caption = f"{where}: {row.Nuclei} nuclei, batch {row.Batch}"
    if crops:
        caption += f"; below: nuclei {numbers}"
    width, height = _webp_size(frame)
    found = {
        "frame": charts.data_uri(frame, "image/webp"), "width": width, "height": height,
        "words": f"{where} with {row.Nuclei} outlined nuclei", "caption": f"{caption}.",
        "crops": "",
    }  # fmt: skip
    rows = f" in {', '.join(channels)}, from top to bottom" if channels else ""
    if crops:
        width, height = _webp_size(crops)
        found |= {
            "crops": charts.data_uri(crops, "image/webp"), "crop_width": width,
            "crop_height": height, "crop_words": f"{where}: nuclei {numbers}{rows}",
        }  # fmt: skip
    return found


def _webp_size(content: bytes) -> tuple[int, int]:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        width, height = picture.size
    return int(width), int(height)


def shading(data: FolderData) -> tuple[str, list[dict[str, Any]]]:
    """Return a description and pictures of each plate's illumination."""
    measured = plate_shading(data.frames)
    drift = shading_drift(measured)
    models = {key: field for key, field in data.models.items() if key[0] in data.plates}
    shown = models or {(plate, ""): field for plate, field in measured.items()}
    if not shown:
        return "", []
    low = min(float(field.min()) for field in shown.values())
    high = max(float(field.max()) for field in shown.values())
    text = (
        f"BaSiC's flatfield of each plate{' and channel' if data.channels else ''}." if models else
        "This correction has no models of plates. Shown is the background of each plate's "
        "frames before the correction, in 8 x 8 tiles: the median over its frames."
    )  # fmt: skip
    text += (
        f" Dark is {low:.2f}, light is {high:.2f} of the mean brightness. The drift is the root "
        "mean square difference of the background before correction from the median of all plates"
        f"{', in the channel of the nuclei' if data.channels else ''}."
    )
    found = []
    told: set[str] = set()
    for (plate, channel), field in shown.items():
        away = f", drift {drift[plate]:.1%}" if plate in drift else ", drift unknown"
        away = "" if plate in told else away
        told.add(plate)
        name = f"{plate}, {channel}" if channel else plate
        height, width = field.shape
        found.append(
            {
                "plate": name,
                "uri": charts.data_uri(charts.coloured(field, low, high)),
                "width": 160,
                "height": round(160 * height / width) if models else 120,
                "caption": f"{field.min():.2f} to {field.max():.2f}{away}",
                "words": f"Illumination of plate {name}: darkest {field.min():.2f}, brightest "
                f"{field.max():.2f} of the mean{away}.",
            }
        )
    return text, found
