"""A folder with any PyTorch network: ``model.pt2`` or ``model.pt``, and ``model.toml``."""

from __future__ import annotations

import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import AllowInfNan, StringConstraints
from typing_extensions import Doc

from idrstream.config import checked, options_in
from idrstream.config.options import STRICT
from idrstream.errors import ConfigError
from idrstream.files import file_sha256
from idrstream.opening import check_regular, read_regular
from idrstream.profile.model import planes_among
from idrstream.profile.torch.network import BuiltNetwork

if TYPE_CHECKING:
    import torch

    from idrstream.records import Features, Frame

TOML = "model.toml"
FILES = ("model.pt2", "model.pt")
"""Names of the network: of ``torch.export.save``, of ``torch.jit.save``."""

_MOST_TOML_BYTES = 1 << 16
_MOST_FEATURES = 1 << 16
_PROBES = 3
_RELATIVE = 1e-3  # rounding differs between sizes of a batch; batch norms in training do far more
_LOAD_ERRORS = (
    AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError,
    TypeError, ValueError, zipfile.BadZipFile,
)  # fmt: skip

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Number = Annotated[float, AllowInfNan(False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What ``model.toml`` says of a network."""

    __pydantic_config__ = STRICT

    name: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9.-]{0,79}$")],
        Doc("Name of the features: the columns are NAME_0, NAME_1 and so on."),
    ]
    channels: Annotated[
        Annotated[tuple[Text, ...], MinLen(1)],
        Doc(
            "Channels that the network takes, in order, by their names in the stream; one may be "
            "there several times, as for a network that was made for colour images."
        ),
    ]
    box_px: Annotated[int, Ge(2), Le(2048), Doc("Side of the square cut out around each object.")]
    input_px: Annotated[
        int, Ge(0), Le(2048), Doc("Side that crops are scaled to before the network; 0: box_px.")
    ] = 0
    normalisation: Annotated[
        Literal["crop", "standard", "none"],
        Doc(
            "Of each crop and channel. crop: from its minimum to its maximum, 0 to 1; standard: "
            "mean 0, deviation 1; none: grey levels as they are."
        ),
    ] = "crop"
    mean: Annotated[
        tuple[Number, ...], Doc("Subtracted after that, one value or one for each channel.")
    ] = (0.0,)
    std: Annotated[
        tuple[Annotated[Number, Gt(0)], ...],
        Doc("Divided by after that, one value or one for each channel."),
    ] = (1.0,)
    output: Annotated[
        int | Text, Doc("Which output holds the features, if it has several: number or name.")
    ] = 0
    crops_at_once: Annotated[
        int | None,
        Ge(1),
        Doc("Crops that go through the network together, unless the option crops_at_once is set."),
    ] = None


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A network in a folder, for `TorchEngine`. Its file is code: load none that you do not trust.

    Attributes
    ----------
    folder : Path
        The folder.
    file : Path
        The network in it.
    spec : ModelSpec
        What ``model.toml`` says.
    """

    folder: Path
    file: Path
    spec: ModelSpec

    @classmethod
    def read(cls, folder: Path) -> ModelFolder:
        """Read ``model.toml`` and find the network; nothing of the network is loaded.

        Raises
        ------
        idrstream.errors.ConfigError
            Naming the file that is missing, or the key that is missing or wrong.
        """
        path = folder / TOML
        try:
            raw = tomllib.loads(read_regular(path, _MOST_TOML_BYTES).decode("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"model_folder: {path} cannot be read: {error}") from error
        missing = [key for key in ("name", "channels", "box_px") if key not in raw]
        if missing:
            raise ConfigError(f"{path} lacks {', '.join(missing)}")
        spec = checked(ModelSpec, raw, str(path))
        for key in ("mean", "std"):
            if len(getattr(spec, key)) not in (1, len(spec.channels)):
                raise ConfigError(
                    f"{key} in {path} has {len(getattr(spec, key))} values for "
                    f"{len(spec.channels)} channels; give one, or one for each"
                )
        there = [folder / name for name in FILES if (folder / name).is_file()]
        if len(there) != 1:
            raise ConfigError(
                f"model_folder {folder} has {'both' if there else 'neither'} {' and '.join(FILES)}"
                "; it must have one of them, written by torch.export.save or torch.jit.save"
            )
        return cls(folder, there[0], spec)

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels that the network takes."""
        return self.spec.channels

    @property
    def box_px(self) -> int:
        """Side of the crops in pixels."""
        return self.spec.box_px

    def describe(self) -> Mapping[str, Any]:
        """Return what changes a result: ``model.toml`` and the digest of the network."""
        values = {option.name: getattr(self.spec, option.name) for option in options_in(ModelSpec)}
        del values["crops_at_once"]
        return {"name": "model", "model": values, "model_sha256": self._digest()}

    def planes_among(self, have: Sequence[str]) -> tuple[int, ...]:
        """Return for each channel its number among those of a frame; see `planes_among`."""
        return planes_among(self.channels, have, f"channels in {self.folder / TOML}")

    def state(self) -> object:
        """Return what ``model.toml`` says, and size and time of the network."""
        try:
            status = self.file.stat()
        except OSError as error:
            raise ConfigError(f"the network {self.file} cannot be read: {error}") from error
        return self, status.st_size, status.st_mtime_ns

    def build(self, device: torch.device, precision: torch.dtype) -> BuiltNetwork:
        """Return the network on a device, tried out on noise.

        Raises
        ------
        idrstream.errors.ConfigError
            When the file is no network, does not take the crops that ``model.toml`` says, or gives
            no finite features that are each crop's own.
        """
        network = _Network(self, _load(self.file, device), device, precision)
        count = network.try_out()
        return BuiltNetwork(network, tuple(f"{self.spec.name}_{n}" for n in range(count)))

    def scale(self, crops: torch.Tensor) -> torch.Tensor:
        """Return crops normalised, before mean and deviation of ``model.toml``."""
        from idrstream.profile.torch.crops import scale_by_range, standardise

        kind = self.spec.normalisation
        if kind == "none":
            return crops
        return scale_by_range(crops) if kind == "crop" else standardise(crops)

    def check(self, features: Sequence[Features], frames: Sequence[Frame]) -> None:
        """Do nothing: a network of somebody else may give the same for all."""

    def _digest(self) -> str:
        try:
            return file_sha256(self.file)
        except OSError as error:
            raise ConfigError(f"the network {self.file} cannot be read: {error}") from error


class _Network:
    """A network with what ``model.toml`` says is done before and after it."""

    def __init__(
        self, folder: ModelFolder, module: Any, device: torch.device, precision: torch.dtype
    ) -> None:
        import torch

        spec = folder.spec
        self._folder, self._spec, self._module = folder, spec, module
        self._device, self._precision = device, precision
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
            for values in (spec.mean, spec.std)
        )

    def __call__(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the features of crops, shape ``(n, d)``, float32."""
        import torch
        from torch.nn.functional import interpolate

        spec, exact = self._spec, self._precision == torch.float32
        if spec.input_px not in (0, spec.box_px):
            crops = interpolate(
                crops, (spec.input_px, spec.input_px), mode="bilinear", antialias=True
            )
        crops = crops.sub(self._mean).div_(self._std)
        with torch.autocast(self._device.type, self._precision, enabled=not exact):
            found = self._chosen(self._module(crops))
        if found.ndim != 2 or len(found) != len(crops):
            raise ConfigError(
                f"output in {self._folder.folder / TOML}: the network gives "
                f"{tuple(found.shape)} for {len(crops)} crops, not (crops, features)"
            )
        features: torch.Tensor = found.float()
        return features

    def try_out(self) -> int:
        """Run the network on noise, alone and together; return the number of features."""
        import torch

        spec = self._spec
        noise = np.random.default_rng(0).random(
            (_PROBES, len(spec.channels), spec.box_px, spec.box_px), np.float32
        )
        crops = torch.from_numpy(noise).to(self._device)
        try:
            with torch.inference_mode():
                together, alone = self(crops).cpu().numpy(), self(crops[:1]).cpu().numpy()
        except ConfigError:
            raise
        except Exception as error:  # code of the model
            raise ConfigError(
                f"the network {self._folder.file} does not take crops of "
                f"{len(spec.channels)} channels and {spec.input_px or spec.box_px} px in batches "
                f"of any size (export it with a dynamic first dimension): {_first_line(error)}"
            ) from error
        if not 0 < together.shape[1] <= _MOST_FEATURES:
            raise ConfigError(
                f"the network {self._folder.file} gives {together.shape[1]} features of each crop"
            )
        if not np.isfinite(together).all():
            raise ConfigError(f"the network {self._folder.file} gives no finite numbers for noise")
        if np.abs(alone[0] - together[0]).max() > _RELATIVE * np.abs(together).max():
            raise ConfigError(
                f"the network {self._folder.file} gives a crop other features when others are "
                "beside it; call eval() before you save it"
            )
        return int(together.shape[1])

    def _chosen(self, found: Any) -> Any:
        """Return the output that holds the features."""
        import torch

        if isinstance(found, torch.Tensor):
            return found
        wanted: Any = self._spec.output
        try:
            chosen = found[wanted] if isinstance(found, (Mapping, Sequence)) else None
        except (LookupError, TypeError):
            chosen = None
        if not isinstance(chosen, torch.Tensor):
            have = ", ".join(map(str, found)) if isinstance(found, Mapping) else ""
            raise ConfigError(
                f"output in {self._folder.folder / TOML} is {wanted!r}, which is no tensor among "
                f"what the network gives ({have or type(found).__name__})"
            )
        return chosen


def _load(path: Path, device: torch.device) -> Any:
    import torch

    try:
        check_regular(path)
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no zip archive, as PyTorch writes them")
        if path.suffix == ".pt":
            return torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
        from torch.export.passes import move_to_device_pass

        program = torch.export.load(path)
        return move_to_device_pass(program, str(device)).module()
    except _LOAD_ERRORS as error:
        how = "torch.export.save" if path.suffix == ".pt2" else "torch.jit.save"
        raise ConfigError(
            f"the network {path} cannot be loaded: it must be written by {how} "
            f"({type(error).__name__}: {_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
