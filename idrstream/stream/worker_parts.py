"""What a worker is made of: its stream, its plates' models, its memory."""

from __future__ import annotations

import glob
import importlib
import os
import resource
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.errors import ConfigError
from idrstream.folder.names import DIAMETERS, ILLUMINATION

if TYPE_CHECKING:
    from idrstream.cluster.layout import StreamFile
    from idrstream.cluster.work import Recipe, Work
    from idrstream.stream.stream import IdrStream


def make_worker_stream(file: StreamFile, output: Path, tmp: Path, log: Path) -> IdrStream:
    """Return the stream of a worker, with folders of its own.

    Raises
    ------
    UserError
        If a component cannot be made here.
    """
    from idrstream.config import settings_from_json
    from idrstream.stream.build import build_stream
    from idrstream.stream.stream import IdrStream

    if file.recipe is not None:
        return _cook(file.recipe, output, tmp)
    stored = {name: dict(values) for name, values in (file.settings or {}).items()}
    own = {"final_data_dir": str(output), "tmp_dir": str(tmp), "log": str(log)}
    stored["stream"] |= own
    return build_stream(IdrStream, settings_from_json(stored, options=own))


def _cook(recipe: Recipe, output: Path, tmp: Path) -> IdrStream:
    module, _, name = recipe.function.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"a worker cannot import {recipe.function!r}, which makes its components: {error}"
        raise ConfigError(msg) from error
    stream: IdrStream = function(tmp_dir=tmp, final_data_dir=output, **recipe.arguments)
    return stream


def plate_models(folder: Path, plate: str) -> list[Path]:
    """Return the files in an output folder with what was estimated for a plate."""
    name = glob.escape(plate)
    forms = (
        f"{ILLUMINATION}/{name}.npz",
        f"{ILLUMINATION}/*/{name}.npz",
        f"{DIAMETERS}/{name}.json",
    )
    return [path for form in forms for path in folder.glob(form)]


def mirror_models(source: Path, target: Path, work: Work) -> None:
    """Give a worker's own output folder what was estimated for the plates of its work."""
    plates = {task.plate for tasks in work.batches.values() for task in tasks}
    for plate in plates:
        for path in plate_models(source, plate):
            own = target / path.relative_to(source)
            if own.exists() or path.is_symlink():
                continue
            own.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                os.link(path, own)
                continue
            shutil.copyfile(path, own)


def memory() -> tuple[int, int]:
    """Return the memory of this process in bytes, now and at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return peak, peak
    return pages * resource.getpagesize(), peak


def host_name() -> str:
    """Return the name of this machine."""
    return os.uname().nodename


def job_here() -> str:
    """Return the number of the job that this process is in; empty if it is in none."""
    environment = os.environ
    array, index = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    if array and index:
        return f"{array}_{index}"
    names = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
    return next((environment[name] for name in names if environment.get(name)), "")
