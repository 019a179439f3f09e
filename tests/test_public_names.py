import subprocess
import sys

import pytest

import idrstream

HEAVY = ["torch", "tensorflow", "jpype", "cellpose", "basicpy", "pandas", "h5py", "scipy"]


def test_the_public_surface_is_pinned():
    assert sorted(idrstream.__all__) == idrstream.__all__ == sorted(idrstream._HOMES)
    assert {
        "AsperaDownloader", "CellPoseSegmentor", "DeepProfilerRun", "IdrStream",
        "simulate_screen",
    } <= set(idrstream.__all__)  # fmt: skip


@pytest.mark.parametrize("name", idrstream.__all__)
def test_every_public_name_is_there(name):
    assert getattr(idrstream, name) is not None
    assert name in dir(idrstream)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_here"):
        idrstream.nothing_here  # noqa: B018


@pytest.mark.parametrize(
    "code",
    ["import idrstream", "from idrstream.cli.main import main", "from idrstream import IdrStream"],
)
def test_nothing_heavy_is_imported_before_it_is_used(code):
    probe = f"{code}; import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
