"""A screen whose planes are extracted: settings, and what is a result."""

from __future__ import annotations

import hashlib

from idrstream import load_settings


def files_of(folder):
    """Return the digest of everything that is a result."""
    out = folder / "out"
    found = [*out.glob("batch_*"), *(p for p in (out / "plates").rglob("*") if p.is_file())]
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).digest() for p in found}


def settings_of(screen, folder, **options):
    return load_settings(
        None, environment={},
        options={
            "table": str(screen.table_path), "root": str(screen.folder), "method": "local",
            "screens_path": str(screen.screens_path), "final_data_dir": str(folder / "out"),
            "tmp_dir": str(folder / "tmp"), "batch_size": "1", "progress": "false",
            "extract": "true", **options,
        },
    )  # fmt: skip
