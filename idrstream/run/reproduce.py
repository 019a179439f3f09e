"""Runs a stream again from its ``provenance.json``: the same table, settings and models, or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.errors import ConfigError, PlanChangedError, TableError
from idrstream.files import file_sha256
from idrstream.folder.identity import differences, image_lines, images_sha256, result_columns
from idrstream.folder.names import TABLES
from idrstream.folder.provenance import FORMAT, VERSION, read_json
from idrstream.folder.versions import changed_versions, versions
from idrstream.opening import inside
from idrstream.run.components import identity_of

if TYPE_CHECKING:
    from idrstream.config import Settings
    from idrstream.stream.stream import IdrStream

_FOLDER = "idrstream_again"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a provenance file says.

    Attributes
    ----------
    path : Path
        The file.
    content : Mapping
        All of it.
    """

    path: Path
    content: Mapping[str, Any]

    @property
    def table(self) -> Path:
        """The copy of the table that lies beside the file."""
        return inside(self.path.parent, f"{TABLES}/{Path(self.content['table']['file']).name}")

    def settings(self, options: Mapping[str, str], *, trusted: bool = False) -> Settings:
        """Return the settings to run it again.

        Parameters
        ----------
        options : Mapping[str, str]
            Settings that are given again; by default results go to ``idrstream_again/features``
            and intermediates to ``idrstream_again/work``.
        trusted : bool
            Use the programs, keys and jars that the file names; otherwise they must be given
            again. Modes, log and folders are never taken from it.

        Raises
        ------
        ConfigError
            When the stream was not built from settings, one of them had a secret, or programs,
            keys or jars must be given again; names them.
        TableError
            When the copy of the table is gone or is another one.
        """
        from idrstream.config import Scope, settings_from_json, usable_settings

        stored = self.content["settings"]
        if stored is None:
            msg = f"{self.path} cannot be run: {self.content['again']}"
            raise ConfigError(msg)
        found = usable_settings(
            stored,
            str(self.path),
            given=options,
            trusted=trusted,
            without={Scope.CALL, Scope.LOCAL},
        )
        table = Path(options["table"]) if "table" in options else self._verified_table()
        plan, form = self.content["plan"], self.content["identity"]["table"]
        stream = {
            **found.get("stream", {}),
            "final_data_dir": f"{_FOLDER}/features",
            "tmp_dir": f"{_FOLDER}/work",
            "table": str(table),
            "batch_size": plan["batch_size"],
            "extra_metadata": form["extra_metadata"],
            "output_format": form["format"],
        }
        return settings_from_json({**found, "stream": stream}, options=options)

    def check(self, stream: IdrStream, settings: Settings) -> list[str]:
        """Compare a stream with the one that the file describes.

        Parameters
        ----------
        stream : IdrStream
            Built from `settings`.
        settings : Settings
            As `settings` returned them.

        Returns
        -------
        list of str
            Versions that are not the same, for a warning.

        Raises
        ------
        PlanChangedError
            When a model, a configuration, the table or a setting that changes results is not
            the same; names all that differ.
        """
        where = settings.stream
        now = identity_of(stream.paths(), stream.components(extract=where.extract), where)
        different = differences(self.content["identity"], now)
        if self._images(settings) != self.content["plan"]["images_sha256"]:
            different.append("the images of the table are others")
        if different:
            msg = (
                f"this is not the stream that {self.path} describes: {'; '.join(different)}. "
                "Restore what it was made with, or run it as it is now with "
                "--accept-differences"
            )
            raise PlanChangedError(msg)
        return self.changed_versions(stream)

    def changed_versions(self, stream: IdrStream) -> list[str]:
        """Return which versions are not those with which the tables were made."""
        made_with = self.content["versions"]
        now = versions() | stream.components().engine.versions()
        return changed_versions(made_with[-1], now) if made_with else []

    def _verified_table(self) -> Path:
        wanted = self.content["table"]["sha256"]
        if not self.table.is_file():
            msg = (
                f"{self.table} is not there: provenance.json needs the folder {TABLES} beside it; "
                "copy that, too, or name the table with --table"
            )
            raise TableError(msg)
        if file_sha256(self.table) != wanted:
            msg = f"{self.table} is not the table that was processed: its digest is not {wanted}"
            raise TableError(msg)
        return self.table

    def _images(self, settings: Settings) -> str:
        from idrstream.screen import read_table, tasks_from_table

        where = settings.stream
        tasks = tasks_from_table(
            read_table(where.table),
            ignore_invalid=where.ignore_invalid_inputs,
            plate_format=where.plate_format,
        )
        return images_sha256(image_lines(tasks, result_columns(where.extra_metadata)))


def load_provenance(path: Path) -> Provenance:
    """Read a provenance file.

    Parameters
    ----------
    path : Path
        ``provenance.json``, or the folder that has it.

    Raises
    ------
    ConfigError
        When it is none, or of a newer version.
    """
    from idrstream.folder.provenance import PROVENANCE_NAME

    path = path / PROVENANCE_NAME if path.is_dir() else path
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read as provenance of a stream: {error}"
        raise ConfigError(msg) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        msg = f"{path} is no provenance of a stream: its format is not {FORMAT}"
        raise ConfigError(msg)
    if not isinstance(content.get("version"), int) or content["version"] < 1:
        msg = f"{path} has no version that provenance of a stream can have"
        raise ConfigError(msg)
    if content["version"] > VERSION:
        msg = f"{path} was written by a newer idrstream; take that one to run it again"
        raise ConfigError(msg)
    _check_content(content, path)
    return Provenance(path, content)


# What a provenance file has, and of which type; a table's format and more belong to its identity.
_CONTENT = (
    (("again",), str),
    (("versions",), list),
    (("table", "file"), str),
    (("table", "sha256"), str),
    (("plan", "images_sha256"), str),
    (("plan", "batch_size"), int),
    (("identity", "table", "format"), str),
    (("identity", "table", "extra_metadata"), list),
)


def _check_content(content: dict[str, Any], path: Path) -> None:
    try:
        _ = content["settings"]
        for keys, kind in _CONTENT:
            value: Any = content
            for key in keys:
                value = value[key]
            if not isinstance(value, kind):
                msg = f"{path}: {'.'.join(keys)} has no value that provenance of a stream can have"
                raise ConfigError(msg)
    except (KeyError, TypeError) as error:
        msg = f"{path} lacks {error}, which provenance of a stream has"
        raise ConfigError(msg) from error
    if not all(isinstance(item, dict) for item in content["versions"]):
        msg = f"{path}: versions has no value that provenance of a stream can have"
        raise ConfigError(msg)
