"""A SLURM of its own on loopback: munged, slurmctld, and a slurmd for each of two logical nodes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "setpriv")

CONF = """\
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.sock,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,requeue_delay=0
KillWait=2
MinJobAge=3600
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=30
InactiveLimit=0
MaxArraySize=100001
MaxJobCount=200000
PropagateResourceLimits=NONE
DefMemPerCPU=500
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
PartitionName=short Nodes=ALL MaxTime=5 State=UP
"""


def is_installed():
    """Return whether SLURM and munge are here, and may be started by this user."""
    return os.getuid() == 0 and all(map(shutil.which, PROGRAMS))


class MiniSlurm:
    """A context manager; ``SLURM_CONF`` has to be set to its ``conf`` for commands."""

    def __init__(self, folder, nodes=2, memory_mb=4000):
        self.folder = Path(folder)
        self.conf = self.folder / "slurm.conf"
        self.env = {**os.environ, "SLURM_CONF": str(self.conf)}
        self.nodes = nodes
        self.memory_mb = memory_mb
        self.processes = {}

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        """End jobs, their steps, and the daemons, by their numbers."""
        if "slurmctld" in self.processes:
            self.run("scancel", "--full", "-u", "root")
            deadline = time.monotonic() + 6
            while time.monotonic() < deadline and self.run("squeue", "-h", "-t", "R,CG").strip():
                time.sleep(0.1)
        for pid in self.steps():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def run(self, *words):
        return subprocess.run(
            words, env=self.env, capture_output=True, text=True, timeout=60
        ).stdout

    def steps(self):
        """Return the numbers of the processes of steps of this SLURM."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                name = (folder / "comm").read_text().strip()
                if name == "slurmstepd" and str(self.folder).encode() in (
                    (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
                ):
                    found.append(int(folder.name))
        return found

    def _start(self):
        for name in ("munge", "state", *(f"spool-n{n}" for n in range(1, self.nodes + 1))):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        munge = self.folder / "munge"
        munge.chmod(0o755)
        (munge / "key").write_bytes(os.urandom(64))
        (munge / "key").chmod(0o600)
        host, ports = socket.gethostname(), free_ports(1 + self.nodes)
        nodes = "\n".join(
            f"NodeName=n{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[n]} CPUs=1 "
            f"RealMemory={self.memory_mb} State=UNKNOWN"
            for n in range(1, self.nodes + 1)
        )
        self.conf.write_text(CONF.format(host=host, ports=ports, folder=self.folder, nodes=nodes))
        self._spawn(
            "munged", "-F", "--force", f"--key-file={munge}/key", f"--socket={munge}/munge.sock",
            f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
        )  # fmt: skip
        self._wait((munge / "munge.sock").exists)
        self._spawn("slurmctld", "-D", "-f", str(self.conf))
        for n in range(1, self.nodes + 1):
            self._spawn("slurmd", "-D", "-f", str(self.conf), "-N", f"n{n}", name=f"slurmd-n{n}")
        idle = ["idle"] * self.nodes
        self._wait(lambda: self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%t").split() == idle)

    def _spawn(self, *words, name=""):
        name = name or words[0]
        with (self.folder / f"{name}.out").open("ab") as out:
            # They end with this process, even if it is killed.
            self.processes[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *words],
                env=self.env, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def _wait(self, there, seconds=30):
        deadline = time.monotonic() + seconds
        while not there():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    said = (self.folder / f"{name}.out").read_text()[-800:]
                    raise RuntimeError(f"{name} ended: {said}")
            if time.monotonic() > deadline:
                raise TimeoutError("SLURM does not start")
            time.sleep(0.1)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
