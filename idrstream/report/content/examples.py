"""Example pictures of frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.quality.pictures import picture_paths, shown_nuclei
from idrstream.report import charts

if TYPE_CHECKING:
    from idrstream.report.data import FolderData

EXAMPLES = 36  # most frames on the page


def examples(data: FolderData) -> tuple[str, list[dict[str, Any]]]:
    """Return pictures of frames with the lowest ranks, taking plates in turn."""
    ordered = data.frames.sort_values("Key")
    ordered = ordered.assign(Turn=ordered.groupby("Plate").cumcount())
    ordered = ordered.sort_values(["Turn", "Key"])
    found: list[dict[str, Any]] = []
    for row in ordered.itertuples(index=False):
        if len(found) >= EXAMPLES:
            break
        example = _example(data.folder, row)
        if example is not None:
            found.append(example)
    text = (
        f"{len(found)} frames drawn at random, each plate in turn, with the outlines of the nuclei "
        "found; below them nuclei of the same frame in original size. The choice depends only on "
        "plate, well, site and frame. Nuclei are numbered by the frame's rows in its batch table, "
        "from 1."
    )
    return text, found


def _example(folder: Path, row: Any) -> dict[str, Any] | None:
    frame_path, crops_path = picture_paths(folder, row.Key)
    try:
        frame = frame_path.read_bytes()
    except OSError:
        return None
    crops = crops_path.read_bytes() if crops_path.is_file() else b""
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
    if crops:
        width, height = _webp_size(crops)
        found |= {
            "crops": charts.data_uri(crops, "image/webp"), "crop_width": width,
            "crop_height": height, "crop_words": f"{where}: nuclei {numbers}",
        }  # fmt: skip
    return found


def _webp_size(content: bytes) -> tuple[int, int]:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        width, height = picture.size
    return int(width), int(height)
