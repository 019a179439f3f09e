"""The error tree: every class has its exit code and its section in the docs."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import idrstream
from idrstream import errors
from idrstream.cli import main as cli
from idrstream.errors import ConfigError, IdrStreamError, ImageError, TableError, UserError
from idrstream.redact import HIDDEN, RedactingFilter, redact, redacted
from idrstream.run.log import StreamLog, errors_logged

ERRORS_PAGE = Path(idrstream.__file__).with_name("errors.md")


def below(kind):
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


def all_errors():
    # Errors of the rooms' own modules count too; heavy libraries are not imported for it.
    for package in ("idrstream.run", "idrstream.download"):
        for found in pkgutil.walk_packages(
            importlib.import_module(package).__path__, f"{package}."
        ):
            importlib.import_module(found.name)
    kinds = [IdrStreamError, *below(IdrStreamError)]
    # Private kinds are for their module alone; a user knows them by their base.
    return [
        kind
        for kind in dict.fromkeys(kinds)
        if kind.__module__.startswith("idrstream") and not kind.__name__.startswith("_")
    ]


def test_every_error_has_cause_and_cure_in_the_docs():
    sections = re.split(r"^### ", ERRORS_PAGE.read_text(), flags=re.MULTILINE)[1:]
    text = {section.split("\n", 1)[0]: section for section in sections}
    for kind in all_errors():
        assert kind.__name__ in text, f"{kind.__name__} has no section in errors.md"
        if not kind.__subclasses__() or kind.__name__ == "BatchError":
            assert "**Cause.**" in text[kind.__name__]
            assert "**Cure.**" in text[kind.__name__]
        assert kind.explained_by() == f"idrstream explain {kind.__name__}"


def test_exit_codes_are_distinct_and_documented():
    users = [kind for kind in all_errors() if issubclass(kind, UserError) and kind is not UserError]
    own = {kind.__name__: kind.exit_code for kind in users if "exit_code" in vars(kind)}
    assert len(set(own.values())) == len(own)
    reserved = {cli.EXIT_OK, cli.EXIT_FAILURES, cli.EXIT_UNFORESEEN, cli.EXIT_INTERRUPTED}
    assert not reserved & {kind.exit_code for kind in users}
    for kind in users:
        assert f"| {kind.exit_code} |" in ERRORS_PAGE.read_text(), kind
    assert {kind.exit_code for kind in all_errors() if issubclass(kind, ImageError)} == {1}


def test_the_tree_is_drawn():
    for kind in all_errors():
        if kind.__module__ == errors.__name__:
            assert kind.__name__ in (errors.__doc__ or "")


@pytest.fixture
def command(monkeypatch):
    """Make ``idrstream table`` raise what the test wants."""

    def install(error):
        def handle(_namespace):
            raise error

        monkeypatch.setattr("idrstream.cli.table.handle", handle)
        return cli.main(["table", "p.tsv", "--out", "t.tsv"])

    return install


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_the_command_line_says_it_without_traceback(command, capsys, kind):
    assert command(kind("something is wrong")) == kind.exit_code
    said = capsys.readouterr().err
    assert said.startswith("idrstream: something is wrong\n")
    assert said.splitlines()[1] == f"More: {kind.explained_by()}"
    assert "Traceback" not in said


def test_unforeseen_errors_leave_their_traceback_in_a_file(command, capsys):
    assert command(ValueError("https://me:secret@host/ broke")) == cli.EXIT_UNFORESEEN
    said = capsys.readouterr().err
    assert "unforeseen ValueError: https://***@host/ broke" in said
    assert "Traceback" not in said
    log = Path(re.search(r"report it with (\S+)", said)[1])
    content = log.read_text()
    log.unlink()
    assert "Traceback" in content
    assert "secret" not in content


def test_interruption_and_closed_pipes(command, capsys):
    assert command(KeyboardInterrupt()) == 130
    assert "finished batches are kept" in capsys.readouterr().err


def test_the_log_has_what_ends_a_command(tmp_path):
    path = tmp_path / "stream.log"
    with pytest.raises(TableError), StreamLog(path), errors_logged():
        raise TableError("row 3 of s3://key:SECRET@bucket/t.tsv")
    content = path.read_text()
    assert "ERROR - Ended by TableError: row 3 of s3://***@bucket/t.tsv" in content
    assert "Traceback" in content
    assert "SECRET" not in content


SECRETS = [
    "https://anna:hunter2hunter2@idr.org/a.ch5",
    "ftp://anna:p@ss:hunter2hunter2@idr.org",
    "fasp-public:hunter2hunter2@fasp.ebi.ac.uk:/pub",
    "s3://AKIDXXX:hunter2hunter2@bucket/x",
    "https://h/x?a=1&X-Amz-Signature=hunter2hunter2&b=2",
    "https://h/x?sig=hunter2hunter2%3D&sp=r",
    "https://h/x?Key-Pair-Id=K1&Signature=hunter2hunter2~",
    "https://h/x?access_token=hunter2hunter2",
    "ASPERA_SCP_PASS=hunter2hunter2 ascp -T",
    "{'aws_secret_access_key': 'hunter2hunter2', 'region': 'eu'}",
    '{"s3_secret": "hunter2hunter2"}',
    "password = hunter2hunter2",
    "ascp --password hunter2hunter2 -T",
    "Authorization: Bearer hunter2hunter2",
    "authorization: Basic aHVudGVyMg==hunter2hunter2",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIhunter2hunter2\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN DSA PRIVATE KEY-----\nhunter2hunter2 cut",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets(text):
    shown = redact(text)
    assert "hunter2" not in shown
    assert HIDDEN in shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "https://ftp.ebi.ac.uk/pub/databases/IDR/idr0013/x.ch5?versionId=7",
        "fasp-public@fasp.ebi.ac.uk:/pub/databases/IDR/x",
        "the Aspera key /home/anna/asperaweb_id_dsa.openssh is not there",
        "row 3, column Frames: '1-x' is not a list of frame numbers",
        "file:///a/b%20c",
        "plate LT0001_02 well A4: failed to authenticate",
        "Processing well A4 from LT0001_02, frames [50]",
    ],
)
def test_what_is_no_secret_is_kept(text):
    assert redact(text) == text


@given(st.text(alphabet=string.printable))
def test_redacting_never_fails_and_is_done_once(text):
    once = redact(text)
    assert redact(once) == once


@given(st.text(alphabet=string.ascii_letters + string.digits, min_size=8))
def test_no_password_of_an_address_is_left(password):
    address = f"https://user:{password}@idr.openmicroscopy.org/x"
    assert redact(address) == "https://***@idr.openmicroscopy.org/x"
    assert str(ConfigError(f"no {address}")) == f"no {redact(address)}"


def test_values_inside_others():
    text = "https://a:hunter2@h.org"
    hidden = "https://***@h.org"
    assert redacted({"a": [text, (text, 1)]}) == {"a": [hidden, (hidden, 1)]}


def test_the_filter_takes_secrets_out_of_arguments_and_tracebacks(caplog):
    logger = logging.getLogger("idrstream.test_redaction")
    caplog.handler.addFilter(one := RedactingFilter())
    try:
        raise ValueError("https://a:hunter2@h.org")
    except ValueError:
        logger.exception("from %s", "https://b:hunter2@h.org")
    finally:
        caplog.handler.removeFilter(one)
    assert "hunter2" not in caplog.text
    assert caplog.text.count("https://***@h.org") == 3  # message, source line, traceback


def test_public_names_have_every_group():
    assert {"UserError", "ImageError", "BatchError"} <= set(idrstream.__all__)
