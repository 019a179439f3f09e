"""Walks README and task pages as a new user in an empty folder, and prints what is to be seen.

Commands, settings and Python are those of the pages (``tests/helpers/walk.py``); what they expect
of the world is simulated, and named (``tests/helpers/stand_ins.py``). Needs nginx and openssl::

    python tools/walk_docs.py                 # all pages
    python tools/walk_docs.py README.md docs/own-images.md
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))


def main() -> int:
    """Walk the pages that are named, or all."""
    import stand_ins
    import walk

    pages = sys.argv[1:] or list(walk.PAGES)
    failed = []
    with tempfile.TemporaryDirectory(prefix="walk ") as folder:
        home = Path(folder)
        with stand_ins.the_web(home / "web") as web:
            print(f"(simulated on this machine: {', '.join(stand_ins.HOSTS)})")
            for number, page in enumerate(pages):
                here = home / str(number) / "empty"
                here.mkdir(parents=True)
                try:
                    print(walk.walk(page, here, web), flush=True)
                except AssertionError as error:
                    print(error, flush=True)
                    failed.append(page)
    print(f"{len(pages) - len(failed)} of {len(pages)} pages; failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
