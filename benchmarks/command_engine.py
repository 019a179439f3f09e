"""DeepProfiler's own command, run for every batch, as the first IDR_stream did."""

from __future__ import annotations

import subprocess

from idrstream.profile import DeepProfilerProject, Engine, check_features
from idrstream.profile.deepprofiler.python import deepprofiler_python


class CommandEngine(Engine):
    """Runs ``python -m deepprofiler`` for each batch; only for comparisons."""

    def __init__(self, gpu: str = "-1") -> None:
        self._gpu = gpu

    def profile(self, project: DeepProfilerProject) -> None:
        """Write ``index.csv`` and run the command."""
        project.write_index()
        options = {"gpu": self._gpu, "root": str(project.root), "config": project.config_name}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        subprocess.run(
            [deepprofiler_python(), "-I", "-m", "deepprofiler", *arguments, "profile"], check=True
        )
        check_features(project)
