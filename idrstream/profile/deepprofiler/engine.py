"""DeepProfiler kept ready: one worker process for the whole stream."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from idrstream.config import ProfileSettings
from idrstream.errors import ProfileError
from idrstream.profile.checks import check_embedding, check_features
from idrstream.profile.deepprofiler.features_file import read_features
from idrstream.profile.deepprofiler.process import DeepProfilerProcess, quote
from idrstream.profile.deepprofiler.project import DeepProfilerProject
from idrstream.profile.model import DeepModel
from idrstream.profile.protocol import FeatureEngine
from idrstream.records import Features, Frame, ImageTask, Objects

_log = logging.getLogger("idrstream.profile")


class DeepProfilerEngine(FeatureEngine):
    """DeepProfiler in a process of its own, its model built once for the whole stream.

    Frames, locations and features pass through a project folder, in which only the model stays
    after a call. Features are those of the command to the last bit, without its start and its
    building of the model for every batch; see `DeepProfilerProcess`.

    Parameters
    ----------
    model : DeepModel
        Configuration and checkpoint. Width and height in the configuration are replaced by those
        of the frames.
    folder : Path
        Folder of the project; it belongs to the engine.
    settings : ProfileSettings or DeepProfilerProcess, optional
        Number of the GPU and time limit of a call; or a process to share.
    """

    def __init__(
        self,
        model: DeepModel,
        folder: Path,
        settings: ProfileSettings | DeepProfilerProcess | None = None,
    ) -> None:
        if not isinstance(settings, DeepProfilerProcess):
            settings = DeepProfilerProcess(settings or ProfileSettings())
        self._process = settings
        self._model = model
        self._project = DeepProfilerProject(folder, model)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._corrected: set[tuple[int, int]] = set()

    def in_folder(self, folder: Path) -> DeepProfilerEngine:
        """Return an engine that works in another folder with the same process."""
        return DeepProfilerEngine(self._model, folder, self._process)

    def describe(self) -> dict[str, object]:
        """Return what changes a result: that it is DeepProfiler."""
        return {"name": "deepprofiler"}

    def versions(self) -> dict[str, str]:
        """Return the versions of DeepProfiler and TensorFlow; see `DeepProfilerProcess`."""
        return self._process.versions()

    def check_channels(self, names: Sequence[str]) -> None:
        """Check that the channels of the model are among some names; see `DeepModel`."""
        self._model.planes_among(names)

    def load(self) -> None:
        """Check that DeepProfiler is installed, and put its model into the project.

        Raises
        ------
        idrstream.errors.MissingToolError
            When it is not; with the commands that install it.
        """
        self._process.versions()
        self._project.write_model()

    def disk_bytes(self, frame: Frame, objects: Objects) -> int:
        """Return the size of a frame's images, locations and features."""
        planes = len(self._model.config.image_columns)
        features = len(objects) * len(self._model.columns) * 4
        return int(frame.pixels[0].nbytes) * planes + features + len(objects) * 64 + 4 * 4096

    def profile(self, frames: Sequence[Frame], objects: Sequence[Objects]) -> list[Features]:
        """Have the process profile the frames, and check what it wrote.

        Raises
        ------
        idrstream.errors.ProfileError
            When DeepProfiler failed or left features out; see `DeepProfilerProcess.profile`.
        idrstream.errors.MissingToolError
            When DeepProfiler is not installed.
        """
        columns = self._model.columns
        values = [np.empty((0, len(columns)), np.float32) for _ in frames]
        shapes = dict.fromkeys(frame.shape for frame, of in zip(frames, objects, strict=True) if of)
        with self._lock:
            self._stop.clear()
            for shape in shapes:  # DeepProfiler takes images of one size
                if self._stop.is_set():
                    raise ProfileError("the profiling was stopped")
                at = [n for n, frame in enumerate(frames) if frame.shape == shape and objects[n]]
                found = self._profile_alike(
                    shape, [frames[n] for n in at], [objects[n] for n in at]
                )
                for n, array in zip(at, found, strict=True):
                    values[n] = array
        features = [
            Features(of.name, columns, array) for of, array in zip(objects, values, strict=True)
        ]
        check_features(features, frames, objects)
        check_embedding(features, frames, self._model)
        return features

    def _profile_alike(
        self,
        shape: tuple[int, int],
        frames: Sequence[Frame],
        objects: Sequence[Objects],
    ) -> list[NDArray[np.float32]]:
        """Return the features of frames of one size, each with objects."""
        project, config = self._project, self._model.config
        if config.size not in (None, shape) and shape not in self._corrected:
            self._corrected.add(shape)
            _log.info(
                "%s says images of %s pixels (height, width); corrected to %s",
                config.path.name, config.size, shape,
            )  # fmt: skip
        project.clear(keep_model=True)
        try:
            project.write_model(shape, link=True)
            images = [
                project.add(_numbered(frame, number), of, pixels=True)
                for number, (frame, of) in enumerate(zip(frames, objects, strict=True), start=1)
            ]
            project.write_index()
            said = self._process.profile(project)
            try:
                return [
                    read_features(project.features_path(image), frame.name)
                    for image, frame in zip(images, frames, strict=True)
                ]
            except ProfileError as error:
                raise ProfileError(f"{error}{quote(said)}") from error
        finally:
            project.clear(keep_model=True)

    def interrupt(self) -> None:
        """End the call that is running, and the process; the next call starts a new one."""
        self._stop.set()
        self._process.interrupt()

    def close(self) -> None:
        """End the process; the next call would start a new one."""
        self._process.close()


def _numbered(frame: Frame, number: int) -> Frame:
    """Return a frame named by its number in a call, which no other has and every tool reads."""
    return dataclasses.replace(frame, number=1, task=ImageTask("frames", str(number), number, (1,)))
