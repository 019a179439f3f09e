"""DeepProfiler in a process of its own, its model built once and used for many batches.

Run as ``python -I worker.py FOLDER`` with DeepProfiler's own Python, 3.10 or 3.11, which knows no
idrstream: only the standard library and DeepProfiler can be imported here. It answers requests on
standard input with replies on its original standard output; what TensorFlow and DeepProfiler print
goes to standard error, so that it cannot get between the replies. It ends when its input does.

DeepProfiler's own classes do the work, so features are those of its command to the last bit.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any


def _load(path: Path) -> Any:
    """Return a module of idrstream that imports nothing else of it, from its file."""
    spec = importlib.util.spec_from_file_location(f"idrstream_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_messages = _load(Path(__file__).resolve().parents[2] / "workers" / "messages.py")

# DeepProfiler's folders in a project, by its names for them.
_FOLDERS = {
    "locations": "inputs/locations/",
    "config": "inputs/config/",
    "images": "inputs/images/",
    "metadata": "inputs/metadata/",
    "intensities": "outputs/intensities/",
    "compressed_images": "outputs/compressed/images/",
    "results": "outputs/results/",
    "checkpoints": "outputs/results/checkpoint/",
    "logs": "outputs/results/logs/",
    "summaries": "outputs/results/summaries/",
    "features": "outputs/results/features/",
}


class Profiler:
    """DeepProfiler's ``Profile``, kept as long as configuration and checkpoint are the same.

    Only what cuts the crops depends on the size of the images; there is one for each.
    """

    def __init__(self) -> None:
        self._key: object = None
        self._profile: Any = None
        self._croppers: dict[tuple[int, int], Any] = {}

    def profile(self, root: str, config_name: str) -> int:
        """Write the features of all images of a project; return the crops put through together."""
        from deepprofiler.dataset.image_dataset import read_dataset

        config = _project_config(Path(root), config_name)
        key = _key_of(config)
        if key != self._key:
            self._forget()
            self._build(config)
            self._key = key
        profile = self._profile
        # One dictionary is shared by all parts of DeepProfiler: change it, never replace it.
        profile.config["paths"].update(config["paths"])
        profile.config["dataset"]["images"].update(config["dataset"]["images"])
        dataset = read_dataset(profile.config, mode="profile")
        profile.profile_crop_generator = self._cropper(profile.config, dataset)
        profile.dset = profile.profile_crop_generator.dset = dataset
        self._scan(profile, dataset)
        return int(profile.config["profile"]["batch_size"])

    def _build(self, config: dict[str, Any]) -> None:
        from deepprofiler.dataset.image_dataset import read_dataset
        from deepprofiler.profiling import Profile

        profile = Profile(config, read_dataset(config, mode="profile"))
        profile.configure()
        self._profile = profile
        self._croppers = {_size(config): profile.profile_crop_generator}

    def _cropper(self, config: dict[str, Any], dataset: Any) -> Any:
        import tensorflow as tf
        from deepprofiler.imaging.cropping import SingleImageCropGenerator

        size = _size(config)
        if size not in self._croppers:
            cropper = SingleImageCropGenerator(config, dataset)
            cropper.start(tf.compat.v1.keras.backend.get_session())
            self._croppers[size] = cropper
        return self._croppers[size]

    def _forget(self) -> None:
        import tensorflow as tf

        self._key = self._profile = None
        tf.compat.v1.keras.backend.clear_session()

    @staticmethod
    def _scan(profile: Any, dataset: Any) -> None:
        """Profile what has no features yet; with fewer crops together when memory runs out."""
        import tensorflow as tf

        while True:
            try:
                dataset.scan(profile.extract_features, frame="all", check=profile.check)
            except tf.errors.ResourceExhaustedError:
                settings = profile.config["profile"]
                if settings["batch_size"] == 1:
                    raise
                settings["batch_size"] //= 2
            else:
                return


def _project_config(root: Path, name: str) -> dict[str, Any]:
    """Return a project's configuration as DeepProfiler's command makes it."""
    folders = {key: f"{root}/{folder}" for key, folder in _FOLDERS.items()}
    config: dict[str, Any] = json.loads((root / "inputs" / "config" / name).read_text("utf-8"))
    for key in ("results", "checkpoints", "logs", "summaries", "features"):
        Path(folders[key]).mkdir(parents=True, exist_ok=True)
    config["paths"] = {"root": str(root), **folders, "index": f"{folders['metadata']}index.csv"}
    config["experiment_name"] = "results"
    return config


def _size(config: dict[str, Any]) -> tuple[int, int]:
    images = config["dataset"]["images"]
    return images["height"], images["width"]


def _key_of(config: dict[str, Any]) -> tuple[object, ...]:
    """Return what a model depends on: configuration and checkpoint, but not the images' size."""
    import hashlib

    path = Path(config["paths"]["checkpoints"], config["profile"]["checkpoint"])
    plain = {name: value for name, value in config.items() if name not in ("paths", "dataset")}
    images = {**config["dataset"]["images"], "width": None, "height": None}
    plain["dataset"] = {**config["dataset"], "images": images}
    return json.dumps(plain, sort_keys=True), hashlib.sha256(path.read_bytes()).hexdigest()


def serve(
    profile: Callable[[str, str], int], requests: Iterable[dict[str, Any]], replies: IO[bytes]
) -> None:
    """Answer requests until there are no more."""
    for request in requests:
        try:
            crops = profile(request["root"], request["config"])
        # The boundary of the process: whatever DeepProfiler raises is sent to the other side.
        except Exception as error:
            words = " ".join(str(error).split())[:2000]
            _messages.write_message(replies, {"error": type(error).__name__, "message": words})
        else:
            _messages.write_message(replies, {"crops_at_once": crops})


def main(arguments: list[str]) -> int:
    """Import DeepProfiler, then serve until the input ends; remove the folder that was lent."""
    (folder,) = arguments
    # Keep the pipe for replies and give everybody else's standard output to standard error.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        requests = _messages.watched_requests(sys.stdin.buffer)
        try:
            import deepprofiler.profiling  # noqa: F401, it takes seconds: now, not at the first batch
        except ImportError as error:
            _messages.write_message(replies, {"error": "missing", "message": str(error)})
            return 1
        _messages.write_message(replies, {"ready": "deepprofiler"})
        serve(Profiler().profile, requests, replies)
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # TensorFlow's threads may outlive main; nothing is left that they could write.
    os._exit(status)
