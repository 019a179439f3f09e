"""Coverage-guided fuzzing of the readers of tables and settings, for a bounded time.

    pip install atheris
    python tests/fuzz/atheris_readers.py table 60     # seconds
    python tests/fuzz/atheris_readers.py settings 60

Whatever bytes a file has: an `IdrStreamError`, or something that works. Anything else is a crash:
atheris prints it with the bytes, and the exit status is not 0.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["idrstream.config", "idrstream.screen"]):
    from idrstream.config import load_settings
    from idrstream.errors import IdrStreamError
    from idrstream.screen import read_table, tasks_from_table

SEEDS = {
    "table": b"Plate,Well,Frames\nLT0001_02,A4,1-9:2\n",
    "settings": b'[stream]\ntable = "t.csv"\ntmp_dir = "w"\nfinal_data_dir = "o"\nbatch_size = 3\n',
}


def main() -> None:
    """Fuzz one of the readers."""
    what, seconds = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as name:
        corpus = Path(name) / "corpus"
        corpus.mkdir()
        (corpus / "seed").write_bytes(SEEDS[what])
        path = Path(name) / ("t.csv" if what == "table" else "stream.toml")

        def read(content: bytes) -> None:
            path.write_bytes(content)
            try:
                if what == "table":
                    tasks_from_table(read_table(path))
                else:
                    load_settings(path, environment={})
            except IdrStreamError:
                return

        options = [f"-max_total_time={seconds}", "-max_len=2000", f"-artifact_prefix={name}/"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
