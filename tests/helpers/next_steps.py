"""What a demo ends with: a picture, and commands that work on its output."""

import shlex
from pathlib import Path


def check_what_comes_next(told, main, monkeypatch, capsys):
    """Open the picture and run each command that the demo ends with, as it is printed."""
    report = Path(told.split("Pictures and plots: ")[1].splitlines()[0])
    page = report.read_text(encoding="utf-8")
    assert "<img" in page
    assert "<svg" in page
    monkeypatch.setattr("webbrowser.open", lambda address: address.startswith("file:///"))
    commands = [line for line in told.splitlines() if line.startswith("  idrstream ")]
    assert len(commands) == 3
    commands.append(told.split("For images of your own: ")[1].splitlines()[0])
    for command in commands:
        words = shlex.split(command, comments=True)
        assert words[0] == "idrstream"
        try:
            code = main(words[1:])
        except SystemExit as ended:  # of --help
            code = ended.code
        assert code == 0, (command, capsys.readouterr())
