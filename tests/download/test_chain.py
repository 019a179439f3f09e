"""The chain takes the next way, remembers what works, and says which one served."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from idrstream.download import Fetched, Transport
from idrstream.download.chain import TransportChain
from idrstream.download.client.errors import InterruptedDownloadError
from idrstream.errors import (
    ConfigError,
    DownloadError,
    IncompleteFileError,
    MissingToolError,
    MovieError,
    RemoteFileNotFoundError,
    StorageError,
    TransientDownloadError,
)


class FakeTransport(Transport):
    """A transport that fails as it is told."""

    def __init__(self, name: str, error: Exception | None = None, size: int | None = 7) -> None:
        self.name, self.error, self._size = name, error, size
        self.asked = 0
        self.interrupted = False

    def fetch(self, remote: str, target: Path) -> Fetched:
        self.asked += 1
        if self.error is not None:
            raise self.error
        target.write_bytes(b"content")
        return Fetched(7, self.name)

    def size(self, remote: str) -> int | None:
        if self.error is not None:
            raise self.error
        return self._size

    def interrupt(self) -> None:
        self.interrupted = True


class Ranges(FakeTransport):
    def open_ranges(self, remote: str, head_bytes: int) -> object:
        if self.error is not None:
            raise self.error
        return self


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


def chain(clock: list[float], *transports: FakeTransport) -> TransportChain:
    return TransportChain(transports, cool_down_s=100, clock=lambda: clock[0])


def test_the_next_way_is_taken_and_named(clock, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="idrstream.download")
    transports = [
        FakeTransport("aspera", TransientDownloadError("udp blocked")),
        FakeTransport("https"),
        FakeTransport("ftp"),
    ]
    fetched = chain(clock, *transports).fetch("a.ch5", tmp_path / "a.ch5")
    assert fetched.served_by == "https"
    assert "a.ch5: not by aspera: udp blocked" in caplog.text
    assert "a.ch5 served by https" in caplog.text
    assert transports[2].asked == 0


def test_a_way_that_failed_rests_and_comes_back(clock, tmp_path):
    first, second = FakeTransport("first", DownloadError("no")), FakeTransport("second")
    both = chain(clock, first, second)
    for _ in range(3):
        assert both.fetch("a", tmp_path / "a").served_by == "second"
    assert first.asked == 1
    first.error = None
    clock[0] = 101
    assert both.fetch("a", tmp_path / "a").served_by == "first"
    first.error = DownloadError("again")
    both.fetch("a", tmp_path / "a")
    second.error, first.error = DownloadError("now this one"), None
    # At rest it is asked all the same when nothing else works.
    assert both.fetch("a", tmp_path / "a").served_by == "first"


def test_a_missing_file_says_nothing_against_a_way(clock, tmp_path):
    first, second = FakeTransport("first", RemoteFileNotFoundError("404")), FakeTransport("second")
    both = chain(clock, first, second)
    both.fetch("a", tmp_path / "a")
    first.error = None
    assert both.fetch("b", tmp_path / "b").served_by == "first"


def test_a_way_that_cannot_work_is_told_once_and_left_out(clock, tmp_path, caplog):
    first, second = (
        FakeTransport("aspera", MissingToolError("ascp was not found")),
        FakeTransport("https"),
    )
    both = chain(clock, first, second)
    for _ in range(3):
        both.fetch("a", tmp_path / "a")
    assert first.asked == 1
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert [r.getMessage() for r in warnings] == ["aspera is left out: ascp was not found"]
    second.error = DownloadError("broken")
    with pytest.raises(DownloadError, match=r"https: broken; aspera: ascp was not found"):
        both.fetch("a", tmp_path / "a")


def test_when_no_way_can_work_the_user_has_to_act(clock, tmp_path):
    both = chain(
        clock,
        FakeTransport("a", MissingToolError("no ascp")),
        FakeTransport("b", ConfigError("no key")),
    )
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"no source .* a: no ascp; b: no key"):
            both.fetch("x", tmp_path / "x")


@pytest.mark.parametrize("error", [StorageError("full"), InterruptedDownloadError("stop")])
def test_what_no_way_could_do_better_ends_it(clock, tmp_path, error):
    second = FakeTransport("second")
    with pytest.raises(type(error)):
        chain(clock, FakeTransport("first", error), second).fetch("a", tmp_path / "a")
    assert second.asked == 0


@pytest.mark.parametrize(("errors", "kind"), [
    ([DownloadError("a"), MovieError("b")], MovieError),
    ([TransientDownloadError("a"), IncompleteFileError("b")], IncompleteFileError),
    ([TransientDownloadError("a"), RemoteFileNotFoundError("b")], TransientDownloadError),
    ([RemoteFileNotFoundError("a"), RemoteFileNotFoundError("b")], RemoteFileNotFoundError),
    ([RemoteFileNotFoundError("a"), DownloadError("b")], DownloadError),
    ([MissingToolError("a"), RemoteFileNotFoundError("b")], RemoteFileNotFoundError),
])  # fmt: skip
def test_the_error_says_most_of_the_file(clock, tmp_path, errors, kind):
    transports = [FakeTransport(str(number), error) for number, error in enumerate(errors)]
    with pytest.raises(kind, match=r"a.*b|b.*a") as got:
        chain(clock, *transports).fetch("x", tmp_path / "x")
    assert type(got.value) is kind


def test_size_and_ranges_come_from_the_first_that_has_them(clock):
    aspera, broken, web = (
        FakeTransport("aspera", size=None),
        Ranges("b", DownloadError("x")),
        Ranges("web"),
    )
    transports = chain(clock, aspera, broken, web)
    assert transports.size("a") == 7
    assert transports.open_ranges("a", 100) is web
    # Where only a way without ranges is left, the whole file is taken.
    assert chain(clock, aspera, broken).open_ranges("a", 100) is None
    assert chain(clock, aspera).open_ranges("a", 100) is None
    assert chain(clock, aspera).size("a") is None
    assert transports.name == "aspera > b > web"
    transports.interrupt()
    assert aspera.interrupted
    assert web.interrupted


def test_an_empty_chain():
    with pytest.raises(ConfigError):
        TransportChain([])
