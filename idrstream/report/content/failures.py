"""Failures by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idrstream.report.data import FolderData

_ROWS = 200  # shown of each kind


def failures(data: FolderData) -> list[dict[str, Any]]:
    """Return failures by kind, with the commands that run them again."""
    from shlex import quote

    import pandas as pd

    found = []
    for kind, rows in data.failures.groupby("Kind", sort=False):
        batches = sorted(set(rows["Batch"].tolist()))
        numbers = ",".join(map(str, batches))
        shown = rows.head(_ROWS)
        cells = [
            ["" if pd.isna(value) else str(value) for value in row]
            for row in shown[
                ["Batch", "Plate", "Well", "Frame", "Stage", "Reason"]
            ].itertuples(index=False)
        ]  # fmt: skip
        noun = "1 batch" if len(batches) == 1 else f"{len(batches)} batches"
        more = f"; the first {_ROWS} are shown" if len(rows) > _ROWS else ""
        found.append(
            {
                "kind": kind,
                "count": len(rows),
                "caption": f"{len(rows)} in {noun}{more}.",
                "rows": cells,
                "cli": f"idrstream rerun {quote(str(data.folder))} --batch-nums {numbers}",
                "python": f"stream.rerun_failed({str(kind)!r})  # batches {numbers}",
            }
        )
    return found
