"""Tiles in other processes: workers of an executor, and a stream killed and started again."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from idrstream import IdrStream
from idrstream.cluster import Executor, Processes
from idrstream.config import load_settings
from idrstream.simulate.slide import SlideSpec, write_slide

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
_STREAM = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.tiles.test_tiled_stream import run, table_of
run(Path(sys.argv[1]), table_of(Path(sys.argv[2])), batch_size=1, batches_in_flight=1)
"""


def results(folder: Path) -> dict[str, bytes]:
    kinds = ("batch_*", "labels/**/*", "masks/**/*", "qc/*")
    paths = [path for kind in kinds for path in folder.glob(kind) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_one_and_four_workers_in_processes_of_their_own_come_to_the_same_bytes(
    tmp_path: Path,
) -> None:
    image = write_slide(tmp_path / "s.ome.tif", SlideSpec(288, 2400, empty=0.0, seed=2))
    found = []
    executors: list[Executor | None] = [None, Processes(workers=1), Processes(workers=4)]
    for number, executor in enumerate(executors):
        config = tmp_path / f"{number}.toml"
        config.write_text(
            f'[stream]\ntable = "none.csv"\nfinal_data_dir = "{number}"\ntmp_dir = "{number}.tmp"\n'
            "[preprocess]\ntile_px = 620\n[segment]\ndiameter = 17.6\n"
        )
        stream = IdrStream.from_settings(load_settings(config))
        table = pd.DataFrame({"Plate": ["s"], "Well": ["A1"], "Path": [str(image)]})
        result = stream.run_stream(table, executor=executor, batch_size=1, progress=False)
        stream.close()
        assert len(result.batches) >= 4
        assert result.nuclei > 150
        assert not len(result.failures())
        found.append(results(tmp_path / str(number)))
    assert found[0] == found[1] == found[2]


def test_killed_and_started_again_it_comes_to_the_same_bytes(tmp_path: Path) -> None:
    spec = SlideSpec(700, 1500, diameter_px=12.0, channels=2, empty=0.0)
    image = write_slide(tmp_path / "a.ome.tif", spec)

    def start(name: str) -> subprocess.Popen[bytes]:
        code = _STREAM.format(root=str(ROOT))
        return subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name), str(image)])

    assert start("whole").wait(120) == 0
    killed = 0
    for count in (1, 3, 6):
        process = start("killed")
        while process.poll() is None:
            if len(list((tmp_path / "killed/out").glob("batch_*"))) >= count:
                process.send_signal(signal.SIGKILL)
                killed += process.wait() == -signal.SIGKILL
            time.sleep(0.005)
    assert start("killed").wait(120) == 0
    assert killed > 0
    assert results(tmp_path / "killed/out") == results(tmp_path / "whole/out")
