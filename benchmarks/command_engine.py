"""DeepProfiler's own command, run for every call, as the first IDR_stream did for every batch."""

from __future__ import annotations

import subprocess
from pathlib import Path

from idrstream.config import ProfileSettings
from idrstream.profile import DeepModel, DeepProfilerEngine, DeepProfilerProject
from idrstream.profile.deepprofiler.process import DeepProfilerProcess
from idrstream.profile.deepprofiler.python import deepprofiler_python


class CommandEngine(DeepProfilerEngine):
    """Runs ``python -m deepprofiler`` for each call; only for comparisons."""

    def __init__(self, model: DeepModel, folder: Path, gpu: str = "-1") -> None:
        super().__init__(model, folder, _Command(gpu))


class _Command(DeepProfilerProcess):
    """A process that is started anew for every project."""

    def __init__(self, gpu: str) -> None:
        super().__init__(ProfileSettings(dp_gpu=gpu))
        self._options = {"gpu": gpu}

    def profile(self, project: DeepProfilerProject) -> str:
        """Run the command."""
        options = {**self._options, "root": str(project.root), "config": project.config_name}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        subprocess.run(
            [deepprofiler_python(), "-I", "-m", "deepprofiler", *arguments, "profile"], check=True
        )
        return ""
