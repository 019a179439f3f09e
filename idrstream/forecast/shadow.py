"""Components and options of a stream for a run in a temporary folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from idrstream.profile import DeepProfilerProject
from idrstream.run.request import Parts, Place, Request


def shadow_parts(parts: Parts, folder: Path) -> Parts:
    """Return components that share their loaded models, but write to `folder`.

    Parameters
    ----------
    parts : Parts
        Of the stream.
    folder : Path
        A temporary folder.
    """
    project = DeepProfilerProject(
        folder / "tmp" / "DP_project", parts.project.config.path, parts.project.checkpoint_path
    )
    preprocessor = parts.preprocessor.for_dry_run(folder / "illumination")
    return dataclasses.replace(parts, project=project, preprocessor=preprocessor)


def shadow_place(place: Place, folder: Path) -> Place:
    """Return a place in `folder` for a temporary run."""
    (folder / "out").mkdir(parents=True)
    (folder / "tmp").mkdir(exist_ok=True)
    return dataclasses.replace(
        place, folder=folder / "out", tmp_dir=folder / "tmp", log=None, settings=None
    )


def shadow_request(request: Request, images: int) -> Request:
    """Return a request for all of a few images, in batches no larger than those of the stream."""
    from idrstream.folder.plans import Modes

    return dataclasses.replace(
        request,
        batch_size=max(1, min(request.batch_size, images)),
        start_batch=0,
        batch_nums="all",
        disk_budget=None,
        modes=Modes(),
    )
