"""bfloat16 is used where the hardware has it, and refused in words where it has not."""

import os
import subprocess
import sys

import pytest
from processor import takes_bfloat16

from idrstream.config import ProfileSettings
from idrstream.errors import ConfigError
from idrstream.profile import TorchEngine
from idrstream.segment import CellPoseSegmentor

pytestmark = pytest.mark.models

PROBE = """
import torch
from idrstream.workers.precision import check_bfloat16, computes_in_bfloat16
cpu = torch.device("cpu")
print(computes_in_bfloat16(cpu))
try:
    check_bfloat16(cpu, "precision", "auto")
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_the_segmentor_says_so_when_it_is_loaded():
    segmentor = CellPoseSegmentor({"model_type": "idrstream-nuclei", "precision": "bfloat16"})
    if takes_bfloat16():
        segmentor.load()
    else:
        with pytest.raises(ConfigError, match=r'precision = "bfloat16" .* use precision = "auto"'):
            segmentor.load()


def test_the_engine_says_so_when_it_is_loaded():
    from idrstream import models
    from idrstream.profile import DeepModel

    model = DeepModel.read(models.profiler_config_path(), models.profiler_checkpoint_path())
    engine = TorchEngine(model, ProfileSettings(profile_device="cpu", profile_precision="bfloat16"))
    if takes_bfloat16():
        engine.load()
    else:
        with pytest.raises(ConfigError, match='use profile_precision = "float32"'):
            engine.load()


def test_on_a_processor_that_has_avx2_only():
    """PyTorch and oneDNN are told to use no more than AVX2, as on older processors."""
    limits = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env={**os.environ, **limits}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    native, refused = done.stdout.splitlines()
    assert native == "False"
    assert refused.startswith('ConfigError: precision = "bfloat16" cannot be used on this proc')
