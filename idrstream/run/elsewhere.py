"""A stream on workers elsewhere: what they are told, and who takes their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.cluster.accept import Acceptor
from idrstream.cluster.coordinator import Coordinator
from idrstream.cluster.layout import ClusterFolder, StreamFile
from idrstream.cluster.work import identity_key
from idrstream.config import RunOptions, Scope, options_in
from idrstream.errors import ConfigError
from idrstream.quality.pictures import PictureStore, pictures_bytes
from idrstream.run.plates import PlateEstimates
from idrstream.text import parse_size

if TYPE_CHECKING:
    from idrstream.cluster.work import Executor
    from idrstream.folder.journal.reader import FrameKey
    from idrstream.run.components import Components, StreamPaths
    from idrstream.schedule.events import Listener

_SHARED = ("downloads_at_once", "connections_per_host")


def make_coordinator(
    executor: Executor,
    paths: StreamPaths,
    components: Components,
    options: RunOptions,
    listeners: Sequence[Listener],
    *,
    identity: Mapping[str, Any],
    keep: Mapping[int, Set[FrameKey]],
    tables: Path,
) -> Coordinator:
    """Return what runs a plan on the workers of an executor; write what they need to know.

    Raises
    ------
    ConfigError
        If workers could not make the components.
    """
    if paths.settings is None and executor.recipe is None:
        msg = (
            "workers make the components of a stream from its settings, and this stream was "
            "built from objects: build it with IdrStream.from_settings(load_settings(...)), or "
            'give the executor a recipe=Recipe(function="package.module:function")'
        )
        raise ConfigError(msg)
    folder = ClusterFolder(paths.folder)
    folder.make()
    key = identity_key(identity)
    StreamFile(
        output=str(paths.folder),
        tmp_dir=str(executor.tmp_dir or paths.tmp_dir),
        study=paths.study,
        tables="" if tables == paths.folder else tables.name,
        options=asdict(_share(options, executor)),
        settings=None if executor.recipe else _shared_settings(paths.settings, executor),
        recipe=executor.recipe,
        identity=key,
        plate_wells=paths.plate_wells,
        complete_timeout_s=paths.complete_timeout_s,
    ).save(folder.stream)
    pictures = PictureStore(paths.folder, pictures_bytes(options.pictures))
    return Coordinator(
        executor,
        folder,
        listeners,
        lambda emit: Acceptor(paths.folder, pictures, keep, emit),
        needs_model=PlateEstimates(components.preprocessor, components.segmentor).needs_plate_model,
        identity=key,
        plate_wells=paths.plate_wells,
    )


def _share(options: RunOptions, executor: Executor) -> RunOptions:
    """Return the options of one worker: its share of connections and disk, no modes of the call."""
    calls = {o.name: o.default for o in options_in(RunOptions) if o.scope is Scope.CALL}
    budget = parse_size(options.disk_budget)
    return replace(
        options,
        **calls,
        progress=False,
        disk_budget=None if budget is None else budget // executor.workers,
        downloads_at_once=_part(options.downloads_at_once, executor),
    )


def _shared_settings(
    settings: Mapping[str, Any] | None, executor: Executor
) -> dict[str, dict[str, Any]]:
    """Return settings with a worker's share of the connections to a server."""
    found = {section: dict(values) for section, values in (settings or {}).items()}
    for section in ("stream", "download"):
        for name in _SHARED:
            if name in found.get(section, {}):
                found[section][name] = _part(int(found[section][name]), executor)
    return found


def _part(count: int, executor: Executor) -> int:
    """Return a worker's part of all connections to one server, at most `count`."""
    return max(1, min(count, executor.connections // executor.workers))
