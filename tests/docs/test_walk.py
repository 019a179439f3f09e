"""What the pages tell a new user to type is right, and works in an empty folder."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import re
import shlex
import socket
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import stand_ins
import walk

from idrstream.cli.main import _COMMANDS, _parsed, main
from idrstream.config import SECTIONS, load_settings, options_in
from idrstream.screen import read_table

DOCS = sorted(
    path.relative_to(walk.PROJECT).as_posix()
    for path in [walk.PROJECT / "README.md", *(walk.PROJECT / "docs").glob("*.md")]
)
LOOK = ("docs/idr0013.md", "docs/any-screen.md", "docs/own-images.md")


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """Return the environment in which the web is simulated on this machine."""
    try:
        with stand_ins.the_web(tmp_path_factory.mktemp("web") / "home") as environment:
            yield environment
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


def idrstream_lines(page):
    for block in walk.blocks_of(page):
        if block.kind not in ("", "sh", "bash"):
            continue
        for line in walk.commands_in(block):
            bare = re.sub(r"^(\$ |[A-Z_]+=\S+ )+", "", line.strip())
            if bare.startswith("idrstream "):
                yield block.line, bare


@pytest.mark.parametrize("page", DOCS)
def test_every_command_of_a_page_is_one(page):
    wrong = []
    for line, command in idrstream_lines(page):
        words = shlex.split(re.split(r"\s(?:\|\||&&|;|\|)\s", command)[0], comments=True)[1:]
        told = io.StringIO()
        if not words or words[0] not in _COMMANDS or "..." in words or "…" in words:
            if words and not words[0].startswith("-") and words[0] not in _COMMANDS:
                wrong.append(f"{page}:{line}: no command {words[0]}")
            continue
        try:
            with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
                _parsed(words)
        except SystemExit as ended:
            if ended.code:
                wrong.append(f"{page}:{line}: {command}: {told.getvalue().splitlines()[-1]}")
    assert wrong == []


@pytest.mark.parametrize("page", DOCS)
def test_every_setting_of_a_page_is_one(page):
    for block in walk.blocks_of(page):
        if block.kind != "toml" or block.title == "pyproject.toml":
            continue
        for name, content in tomllib.loads(block.text).items():
            if not isinstance(content, dict):
                continue  # of a model.toml
            assert name in SECTIONS, f"{page}:{block.line}: [{name}]"
            known = {option.name for option in options_in(SECTIONS[name], name)}
            assert content.keys() <= known, f"{page}:{block.line}: {content.keys() - known}"


@pytest.mark.parametrize("page", DOCS)
def test_every_name_that_a_page_imports_is_there(page):
    for block in walk.blocks_of(page):
        if block.kind != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("idrstream"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page}:{block.line}: {alias.name}"


@pytest.mark.parametrize("page", walk.PAGES)
def test_a_task_page_begins_with_something_that_runs(page):
    text = (walk.PROJECT / page).read_text(encoding="utf-8")
    head = text.partition("\n## I have")[0] if page == "README.md" else text.partition("\n## ")[0]
    assert "<!-- walk -->\n```" in head
    assert all(block.title for block in walk.walked(page) if block.kind == "toml")


@pytest.mark.parametrize("page", LOOK)
def test_the_tables_of_a_page_are_written(page, web, tmp_path, monkeypatch):
    """The first commands of a page, in this process: they load no network."""
    prepare = walk.PAGES[page]
    if prepare:
        prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in web.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)  # put back at the end
    exec(stand_ins.SITE, {})
    # Its plan loads the networks: the slow walk does.
    ready = SimpleNamespace(is_good=True)
    monkeypatch.setattr("idrstream.cli.plan.plan_settings", lambda settings: ready)
    written = []
    for block in walk.walked(page):
        for line in walk.commands_in(block) if block.kind == "sh" else ():
            words = shlex.split(line, comments=True)[1:]
            if words[:1] == ["table"]:
                assert main(words) == 0, line
            elif words[:1] == ["settings"]:
                assert main(words) == 0, line
                out = words[words.index("--out") + 1] if "--out" in words else "stream.toml"
                written.append(str(Path(out).with_suffix(".tsv")))
                assert load_settings(tmp_path / out).stream.table == tmp_path / written[-1]
    assert written
    for name in written:
        table = read_table(tmp_path / name)
        assert len(table) >= 3
        assert {"Plate", "Well", "Frames"} <= set(table)


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("page", walk.PAGES)
def test_a_new_user_gets_to_the_end_of_a_page(page, web, tmp_path):
    here = tmp_path / "empty"
    here.mkdir()
    told = walk.walk(page, here, web)
    assert told.count("$ ") >= len([b for b in walk.walked(page) if b.kind != "toml"])
