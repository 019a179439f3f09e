import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

import quick_parts


@pytest.fixture(scope="session")
def streamed(tmp_path_factory):
    """Return an output folder of a real, small stream: two plates, frames of a well apart."""
    folder = tmp_path_factory.mktemp("collect")
    screen = quick_parts.make_screen(folder / "screen", wells=5)
    table = quick_parts.table_of(screen)
    stream = quick_parts.make_stream(screen, folder, plate_model=False)
    result = stream.run_stream(
        table, batch_size=4, extra_metadata=["object_outlines"], progress=False
    )
    assert not len(result.failures())
    stream.close()
    return folder / "out"
