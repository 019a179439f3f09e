"""The documentation site: builds without a warning, and is sound in a real browser."""

import importlib
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import NARROW, WIDE, opened

import idrstream
from idrstream.config import all_options

PROJECT = Path(__file__).resolve().parents[2]
# One page of each kind: text, tables and code; a notebook; the reference; many headings.
KINDS = ("index", "notebooks/quick_start", "api/records", "errors")
PAGES = sorted(
    path.relative_to(PROJECT / "docs").with_suffix("").as_posix()
    for path in (PROJECT / "docs").rglob("*.md")
)

NO_INDEX = """{"config": {"lang": ["en"], "separator": " ", "pipeline": [],
    "fields": {"title": {"boost": 1}, "text": {"boost": 1}, "tags": {"boost": 1}}}, "docs": []}"""
SCROLLING_CODE = """[...document.querySelectorAll('pre > code')]
    .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.textContent)"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the built site's folder."""
    pytest.importorskip("mkdocs", reason="the documentation is built with Python 3.11")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site):
    """Yield the address of the site on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=site))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_page_of_docs_is_in_the_navigation(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    listed = set(re.findall(r'<a href="([^"#]+)\.html" class="md-nav__link', home))
    assert set(PAGES) - {"index"} <= listed
    assert {"contributing", "changelog", "models/nuclei", "notebooks/quick_start"} <= listed


def test_the_navigation_is_short_at_the_top(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    tops = set(
        re.findall(
            r'<input class="md-nav__toggle md-toggle[^"]*" type="checkbox" id="(__nav_\d+)"', home
        )
    )
    text = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    titles = re.findall(r"^  - ([^:]+):", text, re.MULTILINE)
    assert len(titles) <= 12
    assert {"Reference", "Internals"} <= set(titles)
    assert len(tops) >= 8  # sections that unfold, and none of them is unfolded on the first page
    assert not re.search(r'id="__nav_\d+"[^>]*checked', home)


def test_the_picture_stands_upright_on_a_phone(chromium, address):
    with opened(chromium, f"{address}index.html", width=NARROW) as seen:
        source = seen.page.evaluate("document.querySelector('picture img').currentSrc")
        assert source.endswith("images/pipeline_upright.svg")
    with opened(chromium, f"{address}index.html", width=WIDE) as seen:
        source = seen.page.evaluate("document.querySelector('picture img').currentSrc")
        assert source.endswith("images/pipeline.svg")


def test_names_of_the_reference_break_between_words(site):
    page = (site / "api" / "errors.html").read_text(encoding="utf-8")
    assert "idrstream.<wbr>errors" in page
    assert not re.search(r'(href|id)="[^"]*<wbr>', page)
    code = (site / "own-engine.html").read_text(encoding="utf-8")
    assert not re.search(r"<pre.*?<wbr>.*?</pre>", code.split("<pre")[1].split("</pre>")[0])


def test_every_picture_of_a_notebook_is_on_its_page(site):
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        page = (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        shown = re.findall(rf'src="({path.stem}_\d+\.(?:png|svg))"', page)
        notebook = path.read_text(encoding="utf-8")
        assert len(shown) == notebook.count('"image/png":') + notebook.count('"image/svg+xml":')
        assert all((site / "notebooks" / name).stat().st_size > 500 for name in shown)


def test_every_public_name_is_in_the_reference(site):
    index = (site / "api" / "index.html").read_text(encoding="utf-8")
    for name in idrstream.__all__:
        value = getattr(idrstream, name)
        home = f"idrstream.{idrstream._HOMES[name]}"
        anchor = re.search(rf'href="([a-z]+\.html)#({home}\.{value.__name__})"', index)
        assert anchor, name
        page = (site / "api" / anchor[1]).read_text(encoding="utf-8")
        assert f'id="{anchor[2]}"' in page


def test_every_public_name_of_a_package_is_in_the_reference(site):
    missing = []
    for package in sorted((PROJECT / "idrstream").glob("[!_]*/__init__.py")):
        name = f"idrstream.{package.parent.name}"
        public = getattr(importlib.import_module(name), "__all__", ())
        if not public:
            continue
        page = (site / "api" / f"{package.parent.name}.html").read_text(encoding="utf-8")
        missing += [f"{name}.{one}" for one in public if f'id="{name}.{one}"' not in page]
    assert missing == []


def test_parameters_of_the_reference_are_lists_with_shapes(site):
    page = (site / "api" / "records.html").read_text(encoding="utf-8")
    assert "(Y, X)" in page
    for path in sorted((site / "api").glob("*.html")):
        page = path.read_text(encoding="utf-8")
        # A section that was not understood stays as text with its underline.
        assert not re.search(r"(Parameters|Returns|Raises|Attributes)\s*\n?-{4,}", page)


@pytest.mark.parametrize("way", ["server", "file"])
def test_the_search_works_without_a_network(chromium, site, address, way):
    start = address if way == "server" else site.as_uri() + "/"
    with opened(chromium, f"{start}index.html", within=start) as seen:
        # Keys, since the page listens to those; a value that is set without them is not seen.
        seen.page.locator("input.md-search__input").press_sequentially("disk budget")
        found = seen.page.locator("a.md-search-result__link[href*='disk.html']")
        found.first.wait_for(state="attached", timeout=60_000)
        assert seen.console == []
        assert seen.requests == []


@pytest.fixture(scope="module")
def phone(chromium, address):
    """Yield one window as wide as a telephone, without the search, which has its own test."""
    with opened(chromium, f"{address}404.html", width=NARROW) as seen:
        seen.page.set_default_timeout(60_000)
        seen.page.route("**/search_index.json", lambda route: route.fulfill(body=NO_INDEX))
        yield seen


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_sound_on_a_phone(phone, address, page):
    phone.console.clear()
    phone.requests.clear()
    phone.page.goto(f"{address}{page}.html", wait_until="load")
    assert phone.console == []
    assert phone.requests == []
    assert phone.pictures() == []
    assert phone.wide() == []
    assert phone.page.evaluate(SCROLLING_CODE) == []


@pytest.mark.parametrize("page", KINDS)
@pytest.mark.parametrize(("scheme", "width"), [("light", WIDE), ("dark", NARROW)])
def test_a_page_has_no_fault(chromium, address, page, scheme, width):
    with opened(chromium, f"{address}{page}.html", scheme=scheme, width=width) as seen:
        shown = seen.page.evaluate("document.body.dataset.mdColorScheme")
        assert shown == {"light": "default", "dark": "slate"}[scheme]
        assert seen.faults() == []


def test_every_setting_is_on_its_page(site):
    page = (site / "settings.html").read_text(encoding="utf-8").replace("<wbr>", "")
    for option in all_options().values():
        assert f"<code>{option.name}</code>" in page, option.name
    assert "0.8" in page
