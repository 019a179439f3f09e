"""Warnings stay suppressed for every thread that asks, and come back after the last."""

import threading
import warnings

import pytest

from idrstream.quiet import without_warnings


def test_threads_that_overlap_do_not_undo_each_other():
    entered, leave = threading.Event(), threading.Event()
    before = list(warnings.filters)

    def other():
        with without_warnings():
            entered.set()
            assert leave.wait(10)

    thread = threading.Thread(target=other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thread.start()
        assert entered.wait(10)
        with without_warnings():
            warnings.warn("inside", UserWarning, stacklevel=1)
        warnings.warn("the other is still inside", UserWarning, stacklevel=1)
        leave.set()
        thread.join(10)
        with pytest.raises(UserWarning, match="outside"):
            warnings.warn("outside", UserWarning, stacklevel=1)
    assert list(warnings.filters) == before


def test_an_error_inside_ends_it():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="wrong"), without_warnings():
            raise ValueError("wrong")
        with pytest.raises(UserWarning):
            warnings.warn("outside", UserWarning, stacklevel=1)
