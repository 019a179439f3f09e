"""Pages in a real browser: Debian's Chromium without a window, axe-core's rules.

``chromium`` is a fixture (see ``tests/conftest.py``); tests that take it are skipped where the
browser or the package is missing. A test opens a page and asks what is wrong with it::

    def test_page(chromium, tmp_path):
        with opened(chromium, page_path, width=380, scheme="dark") as seen:
            assert seen.faults() == []
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCHEMES = ("light", "dark")
NARROW, WIDE = 380, 1280

_PICTURES = """async () => {
    const wrong = [];
    for (const image of document.images) {
        image.loading = 'eager';
        const decoded = await image.decode().then(() => true, () => false);
        if (!decoded || !image.naturalWidth) wrong.push(image.src.slice(0, 80));
    }
    return wrong;
}"""
# What reaches over the right edge without standing in a box that scrolls by itself.
_WIDE = """() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const scrolls = element => {
        for (let at = element.parentElement; at && at !== document.body; at = at.parentElement)
            if (getComputedStyle(at).overflowX !== 'visible') return true;
        return false;
    };
    const wide = [...document.body.querySelectorAll('*')]
        .filter(one => one.getBoundingClientRect().right > width + 1 && !scrolls(one))
        .map(one => `${one.tagName} ${one.id || one.className}`);
    return [`page ${document.documentElement.scrollWidth} of ${width}`, ...wide.slice(0, 10)];
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Yield a running Chromium (a Playwright browser); skip where it cannot be had.

    It ends with the module: while Playwright runs, no other test can use asyncio.
    """
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        # Tests may run as root, where Chromium's own sandbox does not work.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Seen:
    """An open page and what happened while it was opened.

    Attributes
    ----------
    page : playwright.sync_api.Page
        The page.
    console : list of str
        Errors and warnings on the console, and exceptions.
    requests : list of str
        Addresses outside the page's own place that it asked for.
    """

    page: Any
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def pictures(self) -> list[str]:
        """Return the pictures that cannot be shown."""
        return self.page.evaluate(_PICTURES)

    def wide(self) -> list[str]:
        """Return what makes the page wider than the window."""
        return self.page.evaluate(_WIDE)

    def violations(self, *ignored: str) -> list[str]:
        """Return what breaks axe-core's rules; `ignored` are ids of rules."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright")
        found = axe.Axe().run(self.page).response["violations"]
        return [
            f"{rule['id']}: {node['target']}: {node.get('failureSummary', '')}"
            for rule in found
            if rule["id"] not in ignored
            for node in rule["nodes"]
        ]

    def faults(self, *ignored: str) -> list[str]:
        """Return all that is wrong with the page."""
        return [
            *(f"console: {text}" for text in self.console),
            *(f"request: {address}" for address in self.requests),
            *(f"picture: {source}" for source in self.pictures()),
            *(f"too wide: {what}" for what in self.wide()),
            *(f"axe: {text}" for text in self.violations(*ignored)),
        ]


@contextmanager
def opened(
    browser: Any,
    address: Path | str,
    *,
    width: int = WIDE,
    height: int = 900,
    scheme: str = "light",
    within: str | None = None,
) -> Iterator[Seen]:
    """Open a page from a file or an address and yield what was seen.

    Parameters
    ----------
    browser : playwright.sync_api.Browser
        As the fixture yields it.
    address : path or str
        A file, or an address on loopback.
    width, height : int
        Size of the window in pixels.
    scheme : {"light", "dark"}
        Colour scheme that the reader prefers.
    within : str, optional
        Requests to addresses that start so are the page's own; by default only the page itself
        for a file, and its server for an address.
    """
    target = address.resolve().as_uri() if isinstance(address, Path) else address
    own = within or (target if isinstance(address, Path) else "/".join(target.split("/")[:3]) + "/")
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    try:
        page = context.new_page()
        seen = Seen(page)
        page.on(
            "console",
            lambda told: (
                seen.console.append(told.text) if told.type in ("error", "warning") else None
            ),
        )
        page.on("pageerror", lambda error: seen.console.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((own, "data:", "blob:"))
                else seen.requests.append(request.url)
            ),
        )
        page.goto(target, wait_until="load")
        yield seen
    finally:
        context.close()
