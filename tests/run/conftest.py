"""The fixtures of models, from the tests of profiling."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_PROFILE = Path(__file__).parents[1] / "profile" / "conftest.py"
_spec = spec_from_file_location("profile_fixtures", _PROFILE)
_profile = module_from_spec(_spec)
_spec.loader.exec_module(_profile)
trained_checkpoint, write_config = _profile.trained_checkpoint, _profile.write_config
