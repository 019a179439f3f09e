"""The illumination of each plate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idrstream.report import charts
from idrstream.report.findings import plate_shading, shading_drift

if TYPE_CHECKING:
    from idrstream.report.data import FolderData


def shading(data: FolderData) -> tuple[str, list[dict[str, Any]]]:
    """Return a description and pictures of each plate's illumination."""
    measured = plate_shading(data.frames)
    drift = shading_drift(measured)
    models = {plate: field for plate, field in data.models.items() if plate in data.plates}
    shown = models or measured
    if not shown:
        return "", []
    low = min(float(field.min()) for field in shown.values())
    high = max(float(field.max()) for field in shown.values())
    text = (
        "BaSiC's flatfield of each plate." if models else
        "This correction has no models of plates. Shown is the background of each plate's "
        "frames before the correction, in 8 x 8 tiles: the median over its frames."
    )  # fmt: skip
    text += (
        f" Dark is {low:.2f}, light is {high:.2f} of the mean brightness. The drift is the root "
        "mean square difference of the background before correction from the median of all plates."
    )
    found = []
    for plate, field in shown.items():
        away = f"drift {drift[plate]:.1%}" if plate in drift else "drift unknown"
        height, width = field.shape
        found.append(
            {
                "plate": plate,
                "uri": charts.data_uri(charts.coloured(field, low, high)),
                "width": 160,
                "height": round(160 * height / width) if models else 120,
                "caption": f"{field.min():.2f} to {field.max():.2f}, {away}",
                "words": f"Illumination of plate {plate}: darkest {field.min():.2f}, brightest "
                f"{field.max():.2f} of the mean, {away}.",
            }
        )
    return text, found
