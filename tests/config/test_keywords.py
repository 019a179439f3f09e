"""Methods that take the options of a section as keyword arguments."""

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
from annotated_types import Ge
from typing_extensions import Doc

from idrstream import IdrStream
from idrstream.config import RunOptions, checked, options_in, takes_options
from idrstream.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Size:
    width: Annotated[int, Ge(1), Doc("Width in pixels.")] = 3
    height: Annotated[int, Ge(1), Doc("Height in pixels.")] = 4


class Canvas:
    @takes_options(Size, positional=1)
    def draw(self, what, *, colour="red", **options):
        """Draw something.

        Parameters
        ----------
        what : str
            What to draw.
        colour : str
            Its colour.
        **options
            The options of `Size`.

        Returns
        -------
        tuple
            All of it.
        """
        return what, colour, options


def test_signature_and_docstring_show_the_options():
    assert str(inspect.signature(Canvas.draw)) == (
        "(self, what, width: int = 3, *, colour='red', height: int = 4)"
    )
    assert "width : int, default: 3\n    Width in pixels.\nheight : int" in Canvas.draw.__doc__
    assert "**options" not in Canvas.draw.__doc__
    assert Canvas.draw.__doc__.endswith("All of it.")


def test_options_come_by_position_and_by_name():
    assert Canvas().draw("x", 7, height=8) == ("x", "red", {"width": 7, "height": 8})
    assert Canvas().draw("x", colour="blue") == ("x", "blue", {})
    with pytest.raises(TypeError, match="at most 2 positional"):
        Canvas().draw("x", 1, 2)
    with pytest.raises(TypeError, match="width twice"):
        Canvas().draw("x", 1, width=2)


def test_every_option_of_a_run_is_a_keyword_of_run_stream_and_plan():
    names = [option.name for option in options_in(RunOptions)]
    for method in (IdrStream.run_stream, IdrStream.plan):
        assert set(names) <= set(inspect.signature(method).parameters)
    assert list(inspect.signature(IdrStream.run_stream).parameters)[:6] == [
        "self", "data_to_process", "batch_size", "start_batch", "batch_nums", "extra_metadata",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"batch_size": 0},
            "run_stream has wrong settings:\n  batch_size: .*greater than or equal",
        ),
        ({"batchsize": 2}, "batchsize: no such option; did you mean batch_size"),
        ({"xyz": 2}, "xyz: no such option$"),
        ({"batch_nums": "some"}, "batch_nums"),
        ({"output_format": "xlsx"}, "output_format: .*'csv.gz' or 'parquet'"),
    ],
)
def test_what_is_wrong_is_named(given, message):
    with pytest.raises(ConfigError, match=message):
        checked(RunOptions, given, "run_stream")


@pytest.mark.parametrize(
    ("given", "expected"),
    [("all", "all"), ("3-5, 9", (3, 4, 5, 9)), (range(2), (0, 1)), ([1], (1,)), (7, (7,))],
)
def test_batch_numbers(given, expected):
    assert checked(RunOptions, {"batch_nums": given}).batch_nums == expected
