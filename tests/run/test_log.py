"""The log of a stream."""

import logging
import re

import pytest

from idrstream.errors import StorageError
from idrstream.run.log import StreamLog


def test_log_lines_have_the_usual_form_and_come_once(tmp_path):
    path = tmp_path / "logs" / "stream.log"
    with StreamLog(path), StreamLog(path):
        logging.getLogger("idrstream.run").info("Processing well %s", "A4")
    logging.getLogger("idrstream.run").info("after the end")
    (line,) = path.read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - INFO - Processing well A4", line)


def test_no_log_is_fine():
    with StreamLog(None):
        logging.getLogger("idrstream").info("nowhere")


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"log file .*stream\.log"):
        StreamLog(tmp_path / "file" / "stream.log")
