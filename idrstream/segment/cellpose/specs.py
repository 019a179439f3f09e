"""The settings of the Cellpose segmentor, checked without importing Cellpose."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from idrstream.errors import ConfigError

SHIPPED = "idrstream-nuclei"
"""Name of the model that comes with this package."""

BUILT_IN = (
    "cyto3",
    "nuclei",
    "cyto2",
    "cyto",
    "tissuenet_cp3",
    "livecell_cp3",
    "yeast_PhC_cp3",
    "yeast_BF_cp3",
    "bact_phase_cp3",
    "bact_fluor_cp3",
    "deepbacs_cp3",
    "cyto2_cp3",
    "CP",
    "CPx",
    "TN1",
    "TN2",
    "TN3",
    "LC1",
    "LC2",
    "LC3",
    "LC4",
)
"""Cellpose 3's own models that need nothing but the U-Net; it downloads them at first use."""


def models_folder() -> Path:
    """Return the folder where Cellpose keeps downloaded models and those the user adds."""
    given = os.environ.get("CELLPOSE_LOCAL_MODELS_PATH")
    return Path(given) if given else Path.home() / ".cellpose" / "models"


@dataclass(frozen=True, slots=True)
class CellposeSpecs:
    """Settings of the Cellpose segmentor; the names are those of the first IDR_stream.

    Attributes
    ----------
    model_type : str
        ``"idrstream-nuclei"`` (comes with this package), the name of one of Cellpose's own
        models, the name of a file in Cellpose's folder of models, or the path of a model file.
    channels : tuple of two int, default: (0, 0)
        As Cellpose wants them. Frames have one channel, for which Cellpose takes any value as
        ``(0, 0)``: the frame itself, no second channel.
    diameter : float or None, default: None
        Diameter of a nucleus in pixels; 0 and None mean that it is estimated for every frame.
    flow_threshold : float, default: 0.4
        Largest error of the flows of a mask that is kept; 0 keeps all.
    cellprob_threshold : float, default: 0
        Pixels above it become nuclei; lower finds more.
    remove_edge_masks : bool, default: False
        Leave out nuclei that touch the border of the frame.
    outlines : bool, default: False
        Give the outline of every nucleus.
    gpu : bool or "auto", default: "auto"
        "auto" takes a GPU when there is one; True insists on one.
    batch_size : int, default: 32
        Tiles of 224 x 224 pixels that go through the network together on a GPU.
    min_size : int, default: 15
        Masks of fewer pixels are left out; -1 keeps all.
    size_model : str or None, default: None
        Path of Cellpose's size model (``*_size.npy``) for a model file. A file of the model's
        name with ``_size.npy`` appended is found without being named.
    threads : int or None, default: None
        Threads of the processor; None takes as many as PyTorch may use, on a GPU all processors.
    precision : {"auto", "single", "bfloat16"}, default: "auto"
        Of the network's convolutions. "auto" takes bfloat16 where the processor or GPU computes in
        it (about twice as fast), else single. Masks agree, see ``docs/segmentation.md``.
    """

    model_type: str
    channels: tuple[int, int] = (0, 0)
    diameter: float | None = None
    flow_threshold: float = 0.4
    cellprob_threshold: float = 0.0
    remove_edge_masks: bool = False
    outlines: bool = False
    gpu: bool | Literal["auto"] = "auto"
    batch_size: int = 32
    min_size: int = 15
    size_model: str | None = None
    precision: Literal["auto", "single", "bfloat16"] = "auto"
    threads: int | None = None

    @classmethod
    def from_mapping(cls, model_specs: Mapping[str, Any]) -> CellposeSpecs:
        """Check a mapping of settings, such as the ``model_specs`` of the first IDR_stream.

        Raises
        ------
        idrstream.errors.ConfigError
            When a key is unknown, ``model_type`` is missing, or a value does not fit; the
            message names the key.
        """
        known = [field.name for field in fields(cls)]
        for key in model_specs:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
                raise ConfigError(
                    f"segmentor: unknown key {key!r}; did you mean {close!r}? "
                    f"Known are {', '.join(known)}"
                )
        if "model_type" not in model_specs:
            raise ConfigError(
                "segmentor: model_type is missing; name a Cellpose model, the path of a model "
                f'file, or "{SHIPPED}"'
            )
        checked: dict[str, Any] = {
            key: _CHECKS[key](key, value) for key, value in model_specs.items()
        }
        return cls(**checked)

    @property
    def estimates_diameter(self) -> bool:
        """Whether the diameter is estimated for every frame."""
        return not self.diameter


def _wrong(key: str, value: object, wanted: str) -> ConfigError:
    return ConfigError(f"segmentor: {key} must be {wanted}, not {value!r}")


def _model_type(key: str, value: Any) -> str:
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise _wrong(key, value, "a name or the path of a model file")
    name = os.fspath(value)
    if name == SHIPPED or name in BUILT_IN:
        return name
    if Path(name).expanduser().is_file():
        return str(Path(name).expanduser().absolute())
    if Path(name).name == name and (models_folder() / name).is_file():
        return str(models_folder() / name)
    near = difflib.get_close_matches(name, [SHIPPED, *BUILT_IN], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(
        f"segmentor: model_type {name!r} is neither a file, nor {SHIPPED!r}, nor one of "
        f"Cellpose's models ({', '.join(BUILT_IN)}).{hint}"
    )


def _size_model(key: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not Path(value).expanduser().is_file():
        raise _wrong(key, value, "the path of an existing file, or None")
    return str(Path(value).expanduser().absolute())


def _channels(key: str, value: Any) -> tuple[int, int]:
    wanted = "two integers from 0 to 3, for example [0, 0]"
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise _wrong(key, value, wanted)
    first, second = value
    if not all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= 3 for v in value):
        raise _wrong(key, value, wanted)
    return first, second


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _wrong(key, value, "a number")
    return float(value)


def _not_negative(key: str, value: Any) -> float:
    if _number(key, value) < 0:
        raise _wrong(key, value, "0 or more")
    return float(value)


def _diameter(key: str, value: Any) -> float | None:
    return None if value is None else _not_negative(key, value) or None


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(key, value, "true or false")
    return value


def _gpu(key: str, value: Any) -> bool | Literal["auto"]:
    return "auto" if value == "auto" else _flag(key, value)


def _precision(key: str, value: Any) -> str:
    if value not in ("auto", "single", "bfloat16"):
        raise _wrong(key, value, '"auto", "single" or "bfloat16"')
    return str(value)


def _optional_count(key: str, value: Any) -> int | None:
    return None if value is None else _count(key, value)


def _count(key: str, value: Any) -> int:
    least = -1 if key == "min_size" else 1
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _wrong(key, value, f"an integer of {least} or more")
    return value


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "model_type": _model_type,
    "channels": _channels,
    "diameter": _diameter,
    "flow_threshold": _not_negative,
    "cellprob_threshold": _number,
    "remove_edge_masks": _flag,
    "outlines": _flag,
    "gpu": _gpu,
    "batch_size": _count,
    "min_size": _count,
    "size_model": _size_model,
    "precision": _precision,
    "threads": _optional_count,
}
