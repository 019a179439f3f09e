"""A thread's number of PyTorch threads is its own."""

from __future__ import annotations

import threading

import pytest

from idrstream.workers.threads import (
    all_processors,
    free_threads,
    in_threads,
    limit_threads,
    one_thread_each,
    threads_limited,
    torch_threads,
)

pytestmark = pytest.mark.models


def in_new_thread(call):
    results = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture
def usual():
    """Return the number that new threads have, unlike all others here, and put it back."""
    import torch

    own, before = torch_threads(), in_new_thread(torch_threads)
    in_new_thread(lambda: torch.set_num_threads(5))
    yield 5
    in_new_thread(lambda: torch.set_num_threads(before))
    limit_threads(own)


def test_limiting_the_threads_of_one_thread_leaves_the_others_alone(usual):
    limit_threads(3)
    assert torch_threads() == 3
    assert in_new_thread(lambda: (limit_threads(1), torch_threads())) == (None, 1)
    assert in_new_thread(torch_threads) == usual
    assert torch_threads() == 3


def test_afterwards_there_are_as_many_as_before_also_for_new_threads(usual):
    limit_threads(3)

    def fails():
        with threads_limited(1):
            assert torch_threads() == 1
            assert in_new_thread(torch_threads) == usual
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        fails()
    assert torch_threads() == 3
    assert in_new_thread(torch_threads) == usual


def test_calls_in_threads_have_one_each_and_leave_the_number_alone(usual):
    limit_threads(3)
    assert in_threads(lambda _: torch_threads(), range(6), 3) == [1] * 6
    assert in_new_thread(torch_threads) == usual


@pytest.mark.parametrize(("items", "share"), [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_what_threads_are_left_the_calls_share(usual, items, share):
    limit_threads(3)
    found = in_threads(lambda _: (torch_threads(), free_threads(7)), range(items), 4)
    assert found == [(1, share)] * items
    assert (torch_threads(), free_threads(), free_threads(7)) == (3, 3, 7)


def test_a_share_is_given_out_again(usual):
    with one_thread_each(6):
        assert (torch_threads(), free_threads(), free_threads(2)) == (1, 6, 6)
        assert in_threads(lambda _: free_threads(), range(2), free_threads()) == [3, 3]
    with pytest.raises(ZeroDivisionError), one_thread_each(6):
        raise ZeroDivisionError
    limit_threads(3)
    assert free_threads() == 3


def test_threads_keep_the_order_and_raise():
    assert in_threads(lambda n: n * n, range(5), 3) == [0, 1, 4, 9, 16]
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda n: 1 / n, [1, 0], 2)
    assert all_processors() >= 1
