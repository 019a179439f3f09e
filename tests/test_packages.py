"""What is said of packages that pip does not install with idrstream."""

import sys

import pytest

from idrstream.errors import MissingToolError
from idrstream.packages import INSTALL_ALONE, INSTALLED_ALONE, require


@pytest.mark.parametrize("name", INSTALLED_ALONE)
def test_one_that_is_missing_is_told_with_the_command(name, monkeypatch):
    require(name, "this")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingToolError, match=f"^this needs {name}, ") as caught:
        require(name, "this")
    assert str(caught.value).endswith(INSTALL_ALONE)
    assert f"'{name}<" in INSTALL_ALONE


def test_the_readme_and_the_environment_say_the_same(request):
    project = request.config.rootpath
    assert INSTALL_ALONE in (project / "README.md").read_text()
    assert f"--no-deps -c constraints.txt {' '.join(INSTALLED_ALONE)}" in (
        (project / "tools" / "venv.sh").read_text()
    )
