"""An option is added in one place, its section, and shows in all others."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

SECTIONS = "idrstream/config/sections.py"
FIRST = "    batch_size: Annotated["
ADDED = """    shade: Annotated[
        Literal["dark", "light"], Doc("Shade of the new option."), Scope.RESULT
    ] = "dark"
    colour: Annotated[
        Literal["red", "blue"], Doc("Colour of the new option."), Scope.SETTING
    ] = "red"
"""

SCRIPT = """
    import contextlib, inspect, io, json, os, sqlite3, sys
    from pathlib import Path

    sys.path[:0] = [{faults!r}, {tools!r}]
    import quick_parts
    from docs_hooks import settings_page

    from idrstream import IdrStream, load_settings
    from idrstream.cli.main import main
    from idrstream.config import SECTIONS, RunOptions

    here = Path.cwd()
    found = {{}}
    text = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(text):
        main(["run", "--help-all"])
    found["help"] = "--colour" in text.getvalue() and "Colour of the new option" in text.getvalue()

    screen = quick_parts.make_screen(here / "screen", plates=1, wells=2)
    toml = here / "stream.toml"
    toml.write_text(
        '[stream]\\ntable = "t"\\nfinal_data_dir = "out"\\ntmp_dir = "tmp"\\ncolour = "blue"\\n'
    )
    settings = load_settings(toml, environment={{}})
    found["toml"] = settings.stream.colour
    os.environ["IDRSTREAM_COLOUR"] = "blue"
    found["environment"] = load_settings(None, options={{
        "table": "t", "final_data_dir": "o", "tmp_dir": "w"}}).stream.colour
    del os.environ["IDRSTREAM_COLOUR"]

    for name in ("run_stream", "plan", "resume", "rerun", "rerun_failed"):
        method = getattr(IdrStream, name)
        found[name] = (
            "colour" in inspect.signature(method).parameters
            and "Colour of the new option" in method.__doc__
        )

    stream = quick_parts.make_stream(screen, here)
    stream.settings = settings
    try:
        stream.run_stream(quick_parts.table_of(screen), colour="green", progress=False)
    except Exception as error:
        found["check"] = f"{{type(error).__name__}}: {{error}}"
    stream.run_stream(quick_parts.table_of(screen), colour="blue", progress=False, batch_size=1)
    try:  # another value of an option that changes results
        stream.run_stream(quick_parts.table_of(screen), shade="light", progress=False, batch_size=1)
    except Exception as error:
        found["compared"] = f"{{type(error).__name__}}: {{error}}"
    stream.close()
    journal = sqlite3.connect(here / "out" / "journal.sqlite")
    options, stored = journal.execute("SELECT options, settings FROM runs").fetchone()
    found["journal"] = json.loads(options)["colour"]
    found["stored"] = json.loads(stored)["stream"]["colour"]
    provenance = json.loads((here / "out" / "provenance.json").read_text())
    found["provenance"] = provenance["settings"]["stream"]["colour"]
    found["page"] = "colour" in settings_page(SECTIONS)
    print("FOUND", json.dumps(found))
"""


@pytest.fixture(scope="module")
def with_a_new_option(tmp_path_factory):
    """Return a copy of the package whose run options have one more."""
    folder = tmp_path_factory.mktemp("package")
    ignore = shutil.ignore_patterns("__pycache__", "models")
    shutil.copytree(PROJECT / "idrstream", folder / "idrstream", ignore=ignore)
    (folder / "idrstream" / "models").symlink_to(PROJECT / "idrstream" / "models")
    path = folder / SECTIONS
    text = path.read_text()
    assert text.count(FIRST) == 1
    path.write_text(text.replace(FIRST, ADDED + FIRST))
    return folder


def test_a_new_option_shows_everywhere(with_a_new_option, tmp_path):
    script = textwrap.dedent(SCRIPT).format(
        faults=str(PROJECT / "tests" / "faults"), tools=str(PROJECT / "tools")
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(with_a_new_option)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stderr
    found = json.loads(lines[0].removeprefix("FOUND "))
    assert found.pop("check").startswith("ConfigError: run_stream has wrong settings:\n  colour")
    refused = found.pop("compared")
    assert refused.startswith("PlanChangedError")
    assert 'options.shade was "dark", is "light"' in refused
    assert found == {
        "help": True, "toml": "blue", "environment": "blue", "journal": "blue", "stored": "blue",
        "provenance": "blue", "page": True,
        **dict.fromkeys(("run_stream", "plan", "resume", "rerun", "rerun_failed"), True),
    }  # fmt: skip
