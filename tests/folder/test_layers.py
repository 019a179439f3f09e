"""What the packages of the output folder may import."""

import ast
from pathlib import Path

import pytest

import idrstream

PACKAGE = Path(idrstream.__file__).parent
JOURNAL = PACKAGE / "folder" / "journal"


def imports_of(path):
    """Yield every imported module of a file, at any level."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def texts_of(path):
    """Yield every string constant of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_all_sql_is_in_the_journal():
    outside = [path for path in PACKAGE.rglob("*.py") if not path.is_relative_to(JOURNAL)]
    assert len(outside) > 100
    for path in outside:
        assert "sqlite3" not in set(imports_of(path)), path
        starts = tuple(f"{verb} " for verb in ("SELECT", "UPDATE", "INSERT", "DELETE", "PRAGMA"))
        assert not [text for text in texts_of(path) if text.lstrip().startswith(starts)], path


@pytest.mark.parametrize("package", ["run", "schedule", "folder", "quality", "watch"])
def test_the_report_is_not_needed_for_a_stream(package):
    for path in (PACKAGE / package).rglob("*.py"):
        found = [name for name in imports_of(path) if name.startswith("idrstream.report")]
        assert not found, path
