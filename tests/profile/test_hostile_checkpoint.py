"""A checkpoint from somebody else goes through the guards of movies."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from idrstream.errors import ConfigError
from idrstream.profile.checkpoint import Checkpoint

KERNEL = "stem_conv/stem_conv/kernel:0"


def write(path, change):
    """Write a checkpoint with one layer, changed by `change(file, layer)`."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"stem_conv"]
        layer = file.create_group("stem_conv")
        layer.attrs["weight_names"] = [KERNEL.split("/", 1)[1].encode()]
        layer.create_group("stem_conv")
        change(file, layer)
    return path


def kernel(layer, **options):
    return layer["stem_conv"].create_dataset("kernel:0", (3, 3, 1, 32), "f4", **options)


def external_storage(_file, layer):
    kernel(layer, external=[("/etc/passwd", 0, 1152)])


def external_link(_file, layer):
    layer["stem_conv"]["kernel:0"] = h5py.ExternalLink("other.h5", "/kernel")


def soft_link(file, layer):
    file["elsewhere"] = np.zeros((3, 3, 1, 32), "f4")
    layer["stem_conv"]["kernel:0"] = h5py.SoftLink("/elsewhere")


def linked_layer(file, _layer):
    del file["stem_conv"]
    file["stem_conv"] = h5py.ExternalLink("other.h5", "/stem_conv")


def linked_model(file, _layer):
    file["model_weights"] = h5py.SoftLink("/")


def virtual(_file, layer):
    layout = h5py.VirtualLayout((3, 3, 1, 32), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "kernel", (3, 3, 1, 32))
    layer["stem_conv"].create_virtual_dataset("kernel:0", layout)


def gigabytes(_file, layer):
    layer["stem_conv"].create_dataset("kernel:0", (2**15, 2**15), "f8", chunks=(2**10, 2**10))


def endless_chunk(_file, layer):
    layer["stem_conv"].create_dataset(
        "kernel:0", (2**13, 2**13), "f4", chunks=(2**13, 2**13), compression="gzip"
    )


def texts(_file, layer):
    layer["stem_conv"].create_dataset("kernel:0", (8,), h5py.string_dtype())


def many_names(file, layer):
    kernel(layer)
    file.attrs["layer_names"] = np.full(3000, b"stem_conv")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (external_storage, "in other files"),
        (external_link, "external link to other.h5"),
        (soft_link, "soft link"),
        (linked_layer, "external link to other.h5"),
        (linked_model, "soft link"),
        (virtual, "in other files"),
        (gigabytes, "8,589,934,592 bytes of float64"),
        (endless_chunk, "chunks of 268,435,456 bytes"),
        (texts, "no weights"),
        (many_names, "no names"),
    ],
)
def test_what_leads_out_of_the_file_or_memory_is_refused(tmp_path, change, words):
    path = write(tmp_path / "stranger.h5", change)
    with pytest.raises(ConfigError, match=words):
        Checkpoint.read(path)


def test_a_chunk_that_unpacks_to_more_than_it_states_is_not_unpacked(tmp_path):
    import zlib

    def bomb(_file, layer):
        weights = kernel(layer, chunks=(3, 3, 1, 32), compression="gzip")
        weights.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(2**19)))

    checkpoint = Checkpoint.read(write(tmp_path / "stranger.h5", bomb))
    with pytest.raises(ConfigError, match="unpacks to more"):
        checkpoint.weights()


def test_an_honest_one_is_read(tmp_path):
    checkpoint = Checkpoint.read(write(tmp_path / "own.h5", lambda _, layer: kernel(layer)))
    assert checkpoint.shapes == {"stem_conv": (3, 3, 1, 32)}
    assert checkpoint.weights()["stem_conv"]["kernel"].dtype == np.float32
