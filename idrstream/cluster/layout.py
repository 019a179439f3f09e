"""What is where in ``cluster/`` of an output folder, and the file that describes the stream.

::

    stream.json         what workers need to know; they are told its digest
    inbox/              finished attempts, each in a folder of its own, complete
    staging/<worker>/   what a worker writes
    workers/<worker>.json  what it is doing
    logs/<worker>.log
    deaths.json         batches at which workers died
    jobs/               jobs of a queue system: work, scripts, numbers
    dask/               what queue systems write for the workers of Dask
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from idrstream.cluster.work import Recipe
from idrstream.errors import ClusterError
from idrstream.files import atomic_file
from idrstream.folder.names import CLUSTER
from idrstream.opening import read_regular, refuse_links
from idrstream.text import parse_json

_FORMAT, _VERSION = "idrstream-cluster", 1
_MOST_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class ClusterFolder:
    """Paths in ``cluster/`` of an output folder."""

    output: Path

    @property
    def root(self) -> Path:
        """The folder."""
        return self.output / CLUSTER

    @property
    def stream(self) -> Path:
        """What workers need to know."""
        return self.root / "stream.json"

    @property
    def inbox(self) -> Path:
        """Finished attempts."""
        return self.root / "inbox"

    @property
    def staging(self) -> Path:
        """A folder for each worker."""
        return self.root / "staging"

    @property
    def workers(self) -> Path:
        """A file for each worker."""
        return self.root / "workers"

    @property
    def logs(self) -> Path:
        """A log for each worker."""
        return self.root / "logs"

    @property
    def deaths(self) -> Path:
        """Batches at which workers died."""
        return self.root / "deaths.json"

    @property
    def jobs(self) -> Path:
        """Jobs of a queue system."""
        return self.root / "jobs"

    def make(self) -> None:
        """Make the folders.

        Raises
        ------
        StorageError
            If one is a link.
        """
        parts = (self.inbox, self.staging, self.workers, self.logs, self.jobs)
        refuse_links(self.output, CLUSTER, *(f"{CLUSTER}/{part.name}" for part in parts))
        for part in parts:
            part.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFile:
    """What a worker needs to know of a stream.

    Attributes
    ----------
    output, tmp_dir : str
        Its folders.
    study : str
        Accession of the study.
    tables : str
        Folder of the tables in the output folder; empty if it is the output folder itself.
    options : Mapping
        `RunOptions` of each worker.
    settings : Mapping or None
        All settings, with the worker's share of connections; without secrets.
    recipe : Recipe or None
        How to make the components without settings.
    identity : str
        Digest of the settings that change results; a worker that has another one refuses.
    plate_wells, complete_timeout_s : int, float
        See `StreamPaths`.
    """

    output: str
    tmp_dir: str
    study: str
    tables: str
    options: Mapping[str, Any]
    settings: Mapping[str, Any] | None
    recipe: Recipe | None
    identity: str
    plate_wells: int
    complete_timeout_s: float
    format: str = field(default=_FORMAT)
    version: int = field(default=_VERSION)

    def save(self, path: Path) -> str:
        """Write the file; return its digest."""
        content = json.dumps(asdict(self), sort_keys=True, default=list).encode()
        with atomic_file(path, mode=0o644) as file:
            file.write(content)
        return hashlib.sha256(content).hexdigest()

    @classmethod
    def load(cls, path: Path, digest: str) -> StreamFile:
        """Read the file; `digest` is what `save` returned to whoever started the worker.

        Raises
        ------
        ClusterError
            If it cannot be read, or is not the one that was written then.
        """
        try:
            packed = read_regular(path, _MOST_BYTES)
            if hashlib.sha256(packed).hexdigest() != digest:
                msg = (
                    f"{path} is not the file that this worker was started for: the stream was "
                    "started again meanwhile with other settings, or somebody changed it"
                )
                raise ClusterError(msg)
            content = parse_json(packed)
            recipe = content.pop("recipe")
            found = cls(**content, recipe=recipe and Recipe(**recipe))
        except OSError as error:
            msg = f"{path} cannot be read here ({error.strerror}): workers need the output folder"
            raise ClusterError(msg) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            msg = f"{path} is damaged: {error}"
            raise ClusterError(msg) from error
        if (found.format, found.version) != (_FORMAT, _VERSION):
            msg = f"{path} is of another version of idrstream: install the same one everywhere"
            raise ClusterError(msg)
        return found


def file_digest(path: Path) -> str:
    """Return the digest of a stream file, for the workers to be started."""
    return hashlib.sha256(read_regular(path, _MOST_BYTES)).hexdigest()
