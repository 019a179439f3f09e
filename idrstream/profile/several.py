"""Several engines in one stream, their features side by side; and engines for other objects."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from idrstream.describe import describe_part
from idrstream.errors import ConfigError, ProfileError
from idrstream.profile.checks import check_features
from idrstream.profile.protocol import FeatureEngine
from idrstream.records import OBJECT_KINDS, Features, Frame, Objects


class SeveralEngines(FeatureEngine):
    """Engines that look at the same frames one after another.

    Their columns stand side by side, in the order of the engines, under names that begin with the
    kind of the objects: ``Nuclei_efficientnet_0``, ``Cells_AreaShape_Area``.

    Parameters
    ----------
    engines : Mapping[str, FeatureEngine]
        By the names that the settings have for them.
    """

    def __init__(self, engines: Mapping[str, FeatureEngine]) -> None:
        self._engines = dict(engines)
        self._stop = threading.Event()

    def describe(self) -> dict[str, object]:
        """Return what the engines say that changes a result, in their order."""
        engines = [{"engine": n, **describe_part(one)} for n, one in self._engines.items()]
        return {"name": "several", "engines": engines}

    def profile(self, frames: Sequence[Frame], objects: Sequence[Objects]) -> list[Features]:
        """Return the features of all engines; see `FeatureEngine.profile`.

        Raises
        ------
        idrstream.errors.ProfileError
            When an engine fails, its features are wrong, or two have the same names.
        """
        self._stop.clear()
        found = []
        for name, engine in self._engines.items():
            if self._stop.is_set():
                raise ProfileError("the profiling was stopped")
            with _named(name):
                features = engine.profile(frames, objects)
                check_features(features, frames, objects)
                found.append(features)
        return [_side_by_side(of_frame) for of_frame in zip(*found, strict=True)]

    def check_channels(self, names: Sequence[str]) -> None:
        """Check that every engine can profile frames of these channels."""
        for engine in self._engines.values():
            engine.check_channels(names)

    def load(self) -> None:
        """Load every engine."""
        for engine in self._engines.values():
            engine.load()

    def versions(self) -> dict[str, str]:
        """Return the versions that the engines name."""
        return {k: v for engine in self._engines.values() for k, v in engine.versions().items()}

    def gpus(self) -> list[str]:
        """Return the GPUs of all engines, each once."""
        return list(dict.fromkeys(gpu for one in self._engines.values() for gpu in one.gpus()))

    def disk_bytes(self, frame: Frame, objects: Objects) -> int:
        """Return the disk space of the engine that needs most: they run one after another."""
        return max(engine.disk_bytes(frame, objects) for engine in self._engines.values())

    def in_folder(self, folder: Path) -> SeveralEngines:
        """Return the engines, each in the other folder."""
        return SeveralEngines({n: one.in_folder(folder) for n, one in self._engines.items()})

    def interrupt(self) -> None:
        """End the engine that is running; those after it do not start."""
        self._stop.set()
        for engine in self._engines.values():
            engine.interrupt()

    def close(self) -> None:
        """Close every engine."""
        for engine in self._engines.values():
            engine.close()


class OfOneKind(FeatureEngine):
    """An engine that gets one kind of objects, such as the cells, in place of the nuclei.

    Its columns begin with the kind. Objects without a pixel have NaN.

    Parameters
    ----------
    engine : FeatureEngine
        The engine.
    kind : str
        Name of the objects.
    """

    def __init__(self, engine: FeatureEngine, kind: str) -> None:
        self._engine = engine
        self._kind = kind

    def describe(self) -> dict[str, object]:
        """Return what the engine says that changes a result, and the kind."""
        return {**describe_part(self._engine), "objects": self._kind}

    def profile(self, frames: Sequence[Frame], objects: Sequence[Objects]) -> list[Features]:
        """Return the features of the objects of the kind; see `FeatureEngine.profile`.

        Raises
        ------
        idrstream.errors.ConfigError
            When the frames have no objects of the kind.
        """
        there = [self._seen(of) for of in objects]
        found = self._engine.profile(frames, [seen for seen, _ in there])
        features = []
        for of, (_, rows), one in zip(objects, there, found, strict=True):
            values = np.full((len(of), len(one.columns)), np.nan, np.float32)
            values[rows] = one.values
            columns = tuple(f"{self._kind}_{name}" for name in one.columns)
            features.append(Features(of.name, columns, values))
        return features

    def check_channels(self, names: Sequence[str]) -> None:
        """Check the channels as the engine does."""
        self._engine.check_channels(names)

    def load(self) -> None:
        """Load the engine."""
        self._engine.load()

    def versions(self) -> dict[str, str]:
        """Return the engine's versions."""
        return self._engine.versions()

    def gpus(self) -> list[str]:
        """Return the engine's GPUs."""
        return self._engine.gpus()

    def disk_bytes(self, frame: Frame, objects: Objects) -> int:
        """Return the engine's disk space."""
        return self._engine.disk_bytes(frame, objects)

    def in_folder(self, folder: Path) -> OfOneKind:
        """Return the engine in the other folder."""
        return OfOneKind(self._engine.in_folder(folder), self._kind)

    def interrupt(self) -> None:
        """Interrupt the engine."""
        self._engine.interrupt()

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _seen(self, objects: Objects) -> tuple[Objects, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        """Return the objects of the kind that have pixels, and which rows they are."""
        if not len(objects):
            return objects, np.zeros(0, bool)
        try:
            of = objects.kind(self._kind)
        except KeyError as error:
            raise ConfigError(
                f"deep_objects asks for {self._kind.lower()}, but none are found; set cells, for "
                'example to "expand"'
            ) from error
        rows = of.table["area"] > 0
        return dataclasses.replace(of, table=of.table[rows]), rows


@contextmanager
def _named(engine: str) -> Iterator[None]:
    """Name the engine in its errors."""
    try:
        yield
    except ProfileError as error:
        raise ProfileError(f"{engine}: {error}") from error


def _side_by_side(found: Sequence[Features]) -> Features:
    """Return the features of one frame from all engines as one."""
    kind = found[0].object
    starts = tuple(f"{name}_" for name in (kind, *OBJECT_KINDS))
    columns = tuple(
        name if name.startswith(starts) else f"{kind}_{name}"
        for features in found
        for name in features.columns
    )
    if len(set(columns)) < len(columns):
        twice = next(name for n, name in enumerate(columns) if name in columns[:n])
        raise ProfileError(f"two engines have a feature called {twice}")
    return Features(kind, columns, np.hstack([features.values for features in found]))
