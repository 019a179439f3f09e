"""The helper that the browser tests stand on finds what is wrong with a page."""

import pytest
from browser import NARROW, opened

GOOD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width"></head>
<body><main><h1>A page</h1><p>Text.</p></main></body></html>"""


def page(tmp_path, *changes):
    path = tmp_path / "page.html"
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def test_good_page_has_no_faults(chromium, tmp_path):
    with opened(chromium, page(tmp_path), width=NARROW) as seen:
        assert seen.faults() == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("<script>console.error('broken')</script>", "console: broken"),
        ("<script>nothing.there()</script>", "console: nothing is not defined"),
        ('<img alt="a" src="data:image/png;base64,AAAA">', "picture: data:image/png"),
        ('<div style="width: 900px">wide</div>', "too wide: DIV"),
        ('<p style="color: #aaa">pale</p>', "axe: color-contrast"),
        ('<img src="http://127.0.0.1:9/x.png" alt="x">', "request: http://127.0.0.1:9/x.png"),
    ],
)
def test_faults_are_found(chromium, tmp_path, change, told):
    path = page(tmp_path, ("<p>Text.</p>", change))
    with opened(chromium, path, width=NARROW) as seen:
        assert any(fault.startswith(told) for fault in seen.faults()), seen.faults()
