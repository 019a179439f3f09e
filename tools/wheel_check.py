"""Builds the wheel, installs it in a clean environment and uses it in an empty folder."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from idrstream.packages import INSTALL_ALONE

PROJECT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "tensorflow", "jpype", "cellpose", "basicpy", "pandas", "h5py")
BUDGET_BYTES = 27 * 2**20


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return its output."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, check=False, text=True, capture_output=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def main() -> None:
    """Check the wheel as a newcomer would meet it."""
    with tempfile.TemporaryDirectory(prefix="idrstream wheel ") as folder:
        place = Path(folder)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", place, PROJECT, cwd=place)
        wheel = next(place.glob("*.whl"))
        if wheel.stat().st_size > BUDGET_BYTES:
            sys.exit(f"{wheel.name} has {wheel.stat().st_size} bytes, over {BUDGET_BYTES}")
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / "bin" / "python"
        constraints = PROJECT / "constraints.txt"
        pip = (python, "-m", "pip", "--disable-pip-version-check")
        run(*pip, "install", "-q", "-c", constraints, wheel, cwd=place)
        run(*pip, *shlex.split(INSTALL_ALONE)[1:], "-q", "-c", constraints, cwd=place)
        empty = place / "empty"
        empty.mkdir()
        loaded = run(
            python, "-c",
            f"import sys, idrstream; print([m for m in {HEAVY!r} if m in sys.modules])",
            cwd=empty,
        )  # fmt: skip
        if loaded.strip() != "[]":
            sys.exit(f"import idrstream loads {loaded}")
        command = place / "venv" / "bin" / "idrstream"
        run(command, "--help", cwd=empty)
        small = ("--height", "256", "--width", "320", "--nuclei", "25", "--frames", "3")
        print(run(command, "demo", *small, cwd=empty))
        left = sorted(path.name for path in empty.iterdir())
        print(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MiB; the demo left {left}")


if __name__ == "__main__":
    main()
