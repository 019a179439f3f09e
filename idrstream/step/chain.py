"""The steps of a stream for one image, each from what was kept of the one before."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from idrstream.describe import describe_part
from idrstream.download import limit_to_needed
from idrstream.errors import ImageError
from idrstream.folder.identity import image_lines, result_columns
from idrstream.formats.complete import wait_until_complete
from idrstream.formats.reader import BaseReader
from idrstream.preprocess import BasePreprocessor
from idrstream.preprocess.channels import ChannelPreprocessor
from idrstream.preprocess.preprocessor import Preprocessor
from idrstream.records import Features, Frame, ImageTask, Movie, Objects, Skipped
from idrstream.run.components import Components
from idrstream.run.plates import PlateEstimates
from idrstream.segment import Segmentor
from idrstream.step.kept import Kept, KeptReader, digest, signatures
from idrstream.step.packing import (
    Arrays,
    pack_features,
    pack_frame,
    pack_objects,
    unpack_features,
    unpack_frame,
    unpack_objects,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Made(Generic[T]):
    """What a step made of an image.

    Attributes
    ----------
    value : object
        The movie, frame, objects or features.
    key : str
        Digest of all that it follows from.
    seconds : float
        How long that took when it was made.
    """

    value: T
    key: str
    seconds: float


@dataclass(frozen=True, slots=True)
class _OfPlate:
    """Components with the estimates of a plate, and digests of those that there are."""

    preprocessor: BasePreprocessor
    segmentor: Segmentor
    frames_key: str = ""
    objects_key: str = ""


class Chain:
    """The steps of one stream over a sample of images.

    Parameters
    ----------
    study : str
        Accession of the study.
    components : Components
        Of the stream.
    complete_timeout_s : float
        See `DownloadSettings`.
    kept : Kept
        What is there, and where results go.
    sample : sequence of ImageTask
        All images: estimates of a plate are made on those of it that are in the sample.
    """

    def __init__(
        self,
        study: str,
        components: Components,
        complete_timeout_s: float,
        kept: Kept,
        sample: Sequence[ImageTask],
    ) -> None:
        self._study = study
        self._components = components
        self._timeout_s = complete_timeout_s
        self._kept = kept
        self._sample = sample
        self._preprocessor = _with_reader(components.preprocessor, kept)
        self._of_plates: dict[str, _OfPlate | ImageError] = {}
        self._loaded: set[str] = set()
        limit_to_needed(components.downloader, self._preprocessor)

    def movie(self, task: ImageTask) -> Made[Movie]:
        """Return the movie of an image; downloaded unless it is kept with the needed frames."""
        line = image_lines([task], result_columns(()))[0]
        downloader, reader = self._components.downloader, self._preprocessor.reader
        limits = None if reader is None else (reader.selection.z, reader.selection.projection)
        keys = self._preprocessor.keys or (reader and reader.selection.channel)
        key = digest(self._study, line, downloader.address(task), keys, limits)
        movie = self._kept.movie(key, task)
        timing = self._kept.arrays("seconds", key)
        if movie is not None and timing is not None and self._has_frames(movie):
            self._kept.note("download", key, made=False)
            return Made(movie, key, float(timing["seconds"]))
        started = time.monotonic()
        movie = downloader.download(task, self._kept.clear_movie(key))
        for file in movie.files:
            wait_until_complete(file.path, size_bytes=file.size_bytes, timeout_s=self._timeout_s)
        seconds = time.monotonic() - started
        self._kept.keep_movie(key, movie)
        self._kept.keep("seconds", key, {"seconds": np.array(seconds)})
        self._kept.note("download", key, made=True)
        return Made(movie, key, seconds)

    def raw(self, task: ImageTask) -> Frame:
        """Return the frame of an image as it was taken."""
        return self._read(self._preprocessor.uncorrected(), self.movie(task).value)

    def frame(self, task: ImageTask) -> Made[Frame]:
        """Return the corrected frame of an image."""
        movie = self.movie(task)
        plate = self._plate(task.plate)

        def make() -> dict[str, Any]:
            return pack_frame(self._read(plate.preprocessor, movie.value))

        key = digest(
            movie.key,
            signatures(movie.value),
            describe_part(plate.preprocessor),
            plate.frames_key,
        )
        made = self._step("preprocess", "preprocessor", key, make)
        return Made(unpack_frame(made.value, task), key, made.seconds)

    def objects(self, task: ImageTask) -> tuple[Frame, Made[Objects]]:
        """Return the frame of an image and the objects in it, with outlines."""
        frame = self.frame(task)
        plate = self._plate(task.plate)
        key = digest(frame.key, describe_part(plate.segmentor), plate.objects_key)

        def make() -> dict[str, Any]:
            return pack_objects(plate.segmentor.segment(frame.value, outlines=True))

        made = self._step("segment", "segmentor", key, make)
        return frame.value, Made(unpack_objects(made.value), key, made.seconds)

    def features(self, task: ImageTask) -> tuple[Frame, Objects, Made[Features]]:
        """Return the frame of an image, its objects and their features."""
        frame, objects = self.objects(task)
        parts = self._components

        def make() -> dict[str, Any]:
            return pack_features(parts.engine.profile([frame], [objects.value])[0])

        key = digest(
            objects.key, describe_part(parts.model), describe_part(parts.engine), frame.channels
        )
        made = self._step("profile", "engine", key, make)
        return frame, objects.value, Made(unpack_features(made.value), key, made.seconds)

    def _step(
        self, step: str, part: str, key: str, make: Callable[[], dict[str, Any]]
    ) -> Made[Arrays]:
        """Return the arrays of a step; made unless they are kept."""
        known = self._kept.arrays(step, key)
        if known is not None:
            self._kept.note(step, key, made=False)
            return Made(known, key, float(known["seconds"]))
        self._load(part)
        started = time.monotonic()
        arrays = make()
        seconds = time.monotonic() - started
        self._kept.keep(step, key, {**arrays, "seconds": np.array(seconds)})
        self._kept.note(step, key, made=True)
        return Made(arrays, key, seconds)

    def _read(self, preprocessor: BasePreprocessor, movie: Movie) -> Frame:
        """Return a wanted frame of a movie: the one in the middle of those that can be read.

        It is corrected as among all that are wanted, since its illumination may depend on them.
        """
        task = preprocessor.resolve(movie)
        at = len(task.frames) // 2
        movie = replace(movie, task=replace(task, frames=task.frames[at:] + task.frames[:at]))
        reason = f"{task.name} has no frame that is wanted"
        for group in preprocessor.iterate(movie, 1):
            for found in group:
                if not isinstance(found, Skipped):
                    return found
                reason = found.reason
        raise ImageError(reason)

    def _has_frames(self, movie: Movie) -> bool:
        """Return whether the files of a movie have what will be read of them."""
        if all(file.frames is None for file in movie.files):
            return True
        reader = self._preprocessor.reader
        if reader is None or not self._preprocessor.chooses_frames:
            return False
        for file in movie.files:
            info = reader.at(site=movie.task.site).info(file.path)
            needed = self._preprocessor.frames_needed(movie.task, info)
            if file.frames is not None and not set(needed) <= set(file.frames):
                return False
        return True

    def _plate(self, plate: str) -> _OfPlate:
        """Return preprocessor and segmentor with the estimates of a plate."""
        if plate not in self._of_plates:
            try:
                self._of_plates[plate] = self._estimated(plate)
            except ImageError as error:
                self._of_plates[plate] = error
        found = self._of_plates[plate]
        if isinstance(found, ImageError):
            raise found
        return found

    def _estimated(self, plate: str) -> _OfPlate:
        """Make the estimates of a plate on the images of the sample, or take those kept."""
        preprocessor, segmentor = self._preprocessor, self._components.segmentor
        folder = self._kept.folder / "plates"
        by_frames = preprocessor.for_dry_run(folder / "none").needs_plate_model(plate)
        by_objects = segmentor.for_dry_run(folder / "none").needs_plate(plate)
        if not (by_frames or by_objects):
            return _OfPlate(preprocessor, segmentor)
        movies = list(self._movies_of(plate))
        used = [(str(movie.path), signatures(movie)) for movie in movies]
        raw = describe_part(preprocessor.uncorrected())
        frames_key = digest(used, describe_part(preprocessor)) if by_frames else ""
        objects_key = digest(used, raw, describe_part(segmentor)) if by_objects else ""
        found = _OfPlate(
            preprocessor.for_dry_run(folder / (frames_key or "none")),
            segmentor.for_dry_run(folder / (objects_key or "none")),
            frames_key,
            objects_key,
        )
        estimates = PlateEstimates(found.preprocessor, found.segmentor)
        if estimates.needs_plate_model(plate):
            self._load("preprocessor")
            self._load("segmentor")
            estimates.fit_plate(plate, iter(movies))
            self._kept.note("plate", frames_key + objects_key, made=True)
        else:
            self._kept.note("plate", frames_key + objects_key, made=False)
        return found

    def _movies_of(self, plate: str) -> Iterator[Movie]:
        for task in self._sample:
            if task.plate == plate:
                with suppress(ImageError):  # which is said where the image is shown
                    yield self.movie(task).value

    def _load(self, part: str) -> None:
        """Load what a component needs, when it is needed first."""
        if part not in self._loaded:
            getattr(self._components, part).load()
            self._loaded.add(part)


def _with_reader(preprocessor: BasePreprocessor, kept: Kept) -> BasePreprocessor:
    """Return a preprocessor that decodes each frame once; one of the user's as it is."""
    if isinstance(preprocessor, ChannelPreprocessor):
        channels = {name: _keeping(one, kept) for name, one in preprocessor.channels.items()}
        return ChannelPreprocessor(channels, keys=dict(preprocessor.keys))
    return _keeping(preprocessor, kept) if isinstance(preprocessor, Preprocessor) else preprocessor


def _keeping(preprocessor: Preprocessor, kept: Kept) -> Preprocessor:
    twin = copy.copy(preprocessor)
    reader: BaseReader = preprocessor.reader
    twin.reader = KeptReader(reader, kept)
    return twin
