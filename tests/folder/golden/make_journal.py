"""Write the journal of the present version; run once for each version, its file is kept.

Run it with ``PYTHONPATH=tests/helpers``.
"""

import importlib.util
import tempfile
from pathlib import Path

from idrstream.folder.journal.journal import Journal
from idrstream.folder.journal.schema import VERSION
from idrstream.records import Batch

HERE = Path(__file__).parent


def main() -> None:
    """Write ``journal_v<version>.sqlite``: a batch done, one failed, one not reached; died."""
    spec = importlib.util.spec_from_file_location("test_journal", HERE.parent / "test_journal.py")
    helpers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helpers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journal = Journal(folder)
        decision = helpers.begin(journal, helpers.tasks(6))
        helpers.run_batch(journal, folder, Batch(0, decision.batches[0]), bad=[0])
        helpers.run_batch(
            journal, folder, Batch(1, decision.batches[1]), publish=False, error="exit 1"
        )
        journal._connection.execute("PRAGMA journal_mode=DELETE")
        journal.close()
        (HERE / f"journal_v{VERSION}.sqlite").write_bytes((folder / "journal.sqlite").read_bytes())


if __name__ == "__main__":
    main()
