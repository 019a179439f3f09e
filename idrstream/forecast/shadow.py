"""Components and options of a stream for a run in a temporary folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from idrstream.config import RunOptions
from idrstream.run.components import ENGINE, Components, StreamPaths


def shadow_components(components: Components, folder: Path) -> Components:
    """Return components that share their loaded models, but write to `folder`.

    Parameters
    ----------
    components : Components
        Of the stream.
    folder : Path
        A temporary folder.
    """
    preprocessor = components.preprocessor.for_dry_run(folder / "illumination")
    segmentor = components.segmentor.for_dry_run(folder / "diameters")
    engine = components.engine.in_folder(folder / ENGINE)
    return dataclasses.replace(
        components, preprocessor=preprocessor, segmentor=segmentor, engine=engine
    )


def shadow_paths(paths: StreamPaths, folder: Path) -> StreamPaths:
    """Return folders in `folder` for a temporary run."""
    (folder / "out").mkdir(parents=True)
    (folder / "tmp").mkdir(exist_ok=True)
    return dataclasses.replace(
        paths, folder=folder / "out", tmp_dir=folder / "tmp", log=None, settings=None
    )


def shadow_options(options: RunOptions, images: int) -> RunOptions:
    """Return the options for all of a few images, in batches no larger than those of the stream."""
    return dataclasses.replace(
        options,
        batch_size=max(1, min(options.batch_size, images)),
        start_batch=0,
        batch_nums="all",
        disk_budget=None,
        replan=False,
        force=False,
        force_recompute=False,
        ignore_failed_outputs=False,
    )
