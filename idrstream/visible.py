"""Make characters visible that a terminal or a reader would obey instead of show.

Text from servers, files and journals reaches error texts, log lines and terminals. An escape
sequence in it could clear the screen or retitle the window, a carriage return could overwrite what
stands there, a bidirectional mark could turn the order of letters around.
"""

from __future__ import annotations

import re

# Control characters but tab and line feed; marks of direction and width that are not shown; line
# ends other than the line feed; halves of characters, which no file in UTF-8 can hold.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_AFTER_THE_FIRST = "\n  "


def visible(text: str) -> str:
    r"""Return a text whose control characters and marks of direction are escapes.

    Parameters
    ----------
    text : str
        A message; it may have several lines.

    Returns
    -------
    str
        ``\x1b`` for an escape character, ``\u202e`` for a mark; tabs and line feeds stay.
    """
    return _HIDDEN.sub(_escaped, text)


def visible_record(text: str) -> str:
    """Return a text for a log: as `visible`, and no line but the first begins at the margin.

    So a line feed in a name cannot make a line that looks like a record of its own.
    """
    return visible(text).replace("\n", _AFTER_THE_FIRST)


def visible_line(text: str) -> str:
    r"""Return a text on one line: as `visible`, with ``\n`` and ``\t`` as escapes, too."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
