import importlib.util

import pytest


@pytest.fixture
def model_files(request):
    """Return the module of example_files/training that writes model files."""
    path = request.config.rootpath / "example_files" / "training" / "model_files.py"
    if not path.is_file():
        pytest.skip("no example files beside this checkout")
    spec = importlib.util.spec_from_file_location("model_files", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
