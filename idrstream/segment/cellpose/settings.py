"""Which model and size model settings name, checked without importing Cellpose."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idrstream.config import BUILT_IN, SHIPPED, SegmentSettings, checked
from idrstream.config.model_names import BUILT_IN_4, SHIPPED_MODELS
from idrstream.errors import ConfigError


def models_folder() -> Path:
    """Return the folder where Cellpose keeps downloaded models and those the user adds."""
    given = os.environ.get("CELLPOSE_LOCAL_MODELS_PATH")
    return Path(given) if given else Path.home() / ".cellpose" / "models"


def is_own(model_type: str) -> bool:
    """Return whether a model is of this package: one that ships, or a file that it trained."""
    return model_type in SHIPPED_MODELS or Path(model_type).suffix == ".npz"


def segment_settings(given: SegmentSettings | Mapping[str, Any]) -> SegmentSettings:
    """Return settings whose model and size model are found.

    Parameters
    ----------
    given : SegmentSettings or Mapping
        ``[segment]`` of the settings, or the first IDR_stream's ``model_specs``: the same names,
        but ``batch_size`` for ``tile_batch_size``, and None allowed as ``diameter``.

    Raises
    ------
    idrstream.errors.ConfigError
        When a key is unknown, a value does not fit, or a model is not found.
    """
    if not isinstance(given, SegmentSettings):
        values = {"tile_batch_size" if k == "batch_size" else k: v for k, v in given.items()}
        if "model_type" not in values:
            msg = (
                "segmentor: model_type is missing; name a Cellpose model, the path of a model "
                f'file, or "{SHIPPED}"'
            )
            raise ConfigError(msg)
        values["diameter"] = values.get("diameter") or 0.0
        given = checked(SegmentSettings, values, "segmentor")
    size_model = given.size_model and given.size_model.expanduser().absolute()
    if size_model and not size_model.is_file():
        msg = f"segmentor: size_model {size_model} is not a file"
        raise ConfigError(msg)
    model_type = _find_model(given.model_type)
    if given.second_channel and is_own(model_type):
        msg = f"segmentor: {Path(model_type).name} takes one channel; leave second_channel out"
        raise ConfigError(msg)
    cell_model = given.cell_model
    if given.cells == "cellpose":
        cell_model = _find_model(cell_model, "cell_model")
    return dataclasses.replace(
        given, model_type=model_type, cell_model=cell_model, size_model=size_model
    )


def _find_model(name: str, option: str = "model_type") -> str:
    """Return the name of a known model, or the path of a model file."""
    if name in (*SHIPPED_MODELS, *BUILT_IN, *BUILT_IN_4):
        return name
    if Path(name).expanduser().is_file():
        return str(Path(name).expanduser().absolute())
    if name and Path(name).name == name and (models_folder() / name).is_file():
        return str(models_folder() / name)
    near = difflib.get_close_matches(name, [*SHIPPED_MODELS, *BUILT_IN, *BUILT_IN_4], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    msg = (
        f"segmentor: {option} {name!r} is neither a file, nor {SHIPPED!r}, nor one of "
        f"Cellpose's models ({', '.join(BUILT_IN)}; of Cellpose 4 {', '.join(BUILT_IN_4)}).{hint}"
    )
    raise ConfigError(msg)
