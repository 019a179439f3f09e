"""Job scripts and answers of queue systems. PBS and LSF are not to be had: theirs are pinned."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import idrstream
from idrstream.cluster.queues import Account, Resources, duration_s, job_script
from idrstream.cluster.systems import SYSTEMS, queue_system
from idrstream.errors import ConfigError, MissingToolError

GOLDEN = Path(__file__).parent / "golden"
EVERYTHING = Resources(
    cores=8, gpus=1, memory="16GB", duration="1-06:00:00", partition="gpu", account="lab",
    qos="long", prologue=("module load cuda", 'export NAME="a b"'),
)  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
def test_scripts_are_pinned(name):
    command = ["/opt/env/bin/python", "-m", "idrstream.stream.job_worker", "/data/out put/x.json"]
    found = job_script(queue_system(name), EVERYTHING, Path("/data/out/logs"), command)
    package = str(Path(idrstream.__file__).absolute().parents[1])
    assert found.replace(package, "/package") == (GOLDEN / f"{name}.sh").read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        {"partition": "a b"}, {"account": "x\n#SBATCH --uid=0"}, {"qos": "$(id)"},
        {"duration": "soon"}, {"memory": "much"}, {"duration": "1:99:00"},
    ],
)  # fmt: skip
def test_what_cannot_stand_in_a_script_is_refused(wrong):
    with pytest.raises(ConfigError):
        Resources(**wrong)


def test_a_folder_that_cannot_stand_in_a_script_is_refused():
    with pytest.raises(ConfigError, match="without blanks"):
        job_script(queue_system("slurm"), EVERYTHING, Path("/data/out put/logs"), ["python"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("06:00:00", 21600), ("1-00:00:01", 86401), ("2:30", 150)]
)
def test_durations(text, seconds):
    assert duration_s(text) == seconds


def test_a_queue_system_that_is_not_there_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, program in {"slurm": "sbatch", "pbs": "qsub", "lsf": "bsub"}.items():
        with pytest.raises(MissingToolError, match=program):
            queue_system(name).submit(tmp_path / "x.sh", [1, 2], 1)
    with pytest.raises(ConfigError, match="slurm, pbs, lsf"):
        queue_system("sge")


def answering(monkeypatch, folder, name, text):
    """Put a program into the path that answers as a queue system does."""
    program = folder / name
    program.write_text(f"#!{sys.executable}\nprint('''{text}''')\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_what_pbs_says_by_its_manual(monkeypatch, tmp_path):
    jobs = {
        "7[1].s": '{"job_state": "R"}', "7[2].s": '{"job_state": "Q", "comment": "no nodes"}',
        "7[3].s": '{"job_state": "F", "Exit_status": 0}',
        "7[4].s": '{"job_state": "F", "Exit_status": 265}',
        "7[5].s": '{"job_state": "F", "Exit_status": -29}',
    }  # fmt: skip
    content = ", ".join(f'"{name}": {job}' for name, job in jobs.items())
    answering(monkeypatch, tmp_path, "qstat", f'{{"Jobs": {{{content}}}}}')
    states = queue_system("pbs").states("7[].s", range(1, 6))
    assert [states[n].phase for n in range(1, 6)] == ["running", "waiting", *["ended"] * 3]
    assert [states[n].kind for n in (3, 4, 5)] == ["lost", "died", "lost"]
    assert states[2].reason == "no nodes"


def test_what_lsf_says_by_its_manual(monkeypatch, tmp_path):
    rows = [
        ("1", "RUN", ""), ("2", "PEND", ""), ("3", "EXIT", "TERM_MEMLIMIT: job killed"),
        ("4", "EXIT", "TERM_RUNLIMIT: job killed"), ("5", "EXIT", ""), ("6", "DONE", ""),
    ]  # fmt: skip
    content = ", ".join(
        f'{{"JOBINDEX": "{n}", "STAT": "{state}", "EXIT_REASON": "{why}"}}'
        for n, state, why in rows
    )
    answering(monkeypatch, tmp_path, "bjobs", f'{{"RECORDS": [{content}]}}')
    states = queue_system("lsf").states("7", range(1, 7))
    assert [states[n].kind for n in (3, 4, 5, 6)] == ["died", "lost", "died", "lost"]
    assert "more memory" in states[3].reason


def test_what_the_accounting_of_slurm_says_by_a_stand_in_for_it(monkeypatch, tmp_path):
    said = [
        "7_1|COMPLETED|0:0|00:03:12||node1",
        "7_1.batch|COMPLETED|0:0|00:03:12|812.50M|node1",
        "7_1.extern|COMPLETED|0:0|00:03:12|1M|node1",
        "7_2|OUT_OF_MEMORY|0:125|1-00:00:07||node2",
        "7_2.batch|OUT_OF_MEMORY|0:125|1-00:00:07|2048M|node2",
        "7_[3-9%2]|PENDING|0:0|00:00:00||None assigned",
        "17_1|COMPLETED|0:0|00:00:01||node1",
        "nonsense",
    ]
    answering(monkeypatch, tmp_path, "sacct", "\n".join(said))
    assert queue_system("slurm").accounts("7") == {
        1: Account(state="COMPLETED", elapsed="00:03:12", peak_bytes=851_968_000, nodes="node1"),
        2: Account(
            state="OUT_OF_MEMORY, exit code 0:125", elapsed="1-00:00:07", peak_bytes=2 << 30,
            nodes="node2",
        ),
    }  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert queue_system("slurm").accounts("7") == {}
    assert queue_system("pbs").accounts("7") == {}
