"""Studies' own files, in the layouts that the archive's metadata have."""

from __future__ import annotations

from pathlib import Path

import pytest

ARCHIVE = "/uod/idr/filesets"


def _write_screen(path: Path, *, rows: int, columns: int, wells: dict, fields: int = 1) -> Path:
    """Write a ``.screen`` file; `wells` maps (row, column) to the files of the fields."""
    lines = ["[Plate]", f"Name = {path.stem}", f"Rows = {rows}", f"Columns = {columns}"]
    lines += [f"Fields = {fields}", ""]
    for row in range(rows):
        for column in range(columns):
            lines += [f"[Well {row * columns + column}]", f"Row = {row}", f"Column = {column}"]
            files = wells.get((row, column), [])
            lines += [f"Field_{i} = {file}" for i, file in enumerate(files) if file]
            lines.append("")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def write_screen():
    return _write_screen


@pytest.fixture
def study(tmp_path) -> Path:
    """A study of 96-well plates as idr0004's: missing wells, two fields in a well."""
    folder = tmp_path / "study"
    root = f"{ARCHIVE}/idr0004-thorpe-rad52/Rad52_old"
    wells = {
        (0, 1): [f"{root}/P101/a2.ch5", f"{root}/P101/a2_2.ch5"],
        (1, 0): [f"{root}/P101/b1.ch5"],
        (7, 11): [f"{root}/P101/h12.ch5", f"{root}/P101/h12_2.ch5"],
    }
    _write_screen(folder / "screens" / "P101.screen", rows=8, columns=12, wells=wells, fields=2)
    other = {(0, 0): [f"{root}/p120//shared file.ch5"], (0, 1): [f"{root}/p120/shared file.ch5"]}
    _write_screen(folder / "screens" / "p120.screen", rows=8, columns=12, wells=other)
    (folder / "screenA").mkdir()
    (folder / "screenA" / "idr0004-screenA-plates.tsv").write_text(
        "P101\t../screens/P101.screen\np120\t../screens/p120.screen\n"
    )
    (folder / "screenA" / "idr0004-screenA-annotation.csv").write_text(
        "Plate,Well,Gene Symbol,Control Type\n"
        "P101,A2,RAD52,\nP101,B1,WT,negative control\nP101,C1,DAD4,\nP101,H12,SGS1,\n"
        "p120,A01,WT,negative control\np120,a2,WT,negative control\n"
    )
    return folder / "screenA"
