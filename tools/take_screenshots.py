"""Takes the pictures of report, notebook and terminal, and of README and pages.

The first go to docs/images/. They are from a real run: a simulated screen with one movie missing
is streamed in the background; handle and terminal are pictured when about half of its images are
done, the report at its end. README and pages, wide and on a telephone, go to images/screens/.
Needs Chromium and Playwright::

    python tools/take_screenshots.py [--work FOLDER] [--only terminal notebook report pages]

A work folder that has a finished run is used again for the report.
"""

from __future__ import annotations

import argparse
import fcntl
import html
import io
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from idrstream.watch.background import BackgroundRun

PROJECT = Path(__file__).resolve().parents[1]
TARGET = PROJECT / "docs" / "images"
SCREENS = PROJECT / "images" / "screens"
PAGES = ("index", "own-images", "failures", "notebooks/quick_start")
WINDOWS = {"": (1280, 1100), "_phone": (380, 1100)}
LIMIT_BYTES = 300_000
COLUMNS, LINES = 110, 30
COLOURS = {"31": "#ff8d85", "32": "#7fd88f", "33": "#f0c060", "34": "#8fb8ff"}
WEIGHTS = {"1": "b", "2": "i"}
SGR = re.compile(r"\x1b\[([\d;]*)m")
OTHER_CODES = re.compile(r"\x1b\[[\d;?]*[A-Za-ln-z]")
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>
body {{ margin: 0; background: {ground}; color: {ink}; }}
body {{ font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif; }}
#shot {{ display: inline-block; padding: 18px 22px; }}
pre {{ margin: 0; font: 14.5px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }}
.in {{ display: flex; gap: 14px; margin-bottom: 12px; }}
.in span {{ color: #30519c; padding-top: 8px; }}
.in pre {{ background: #f4f4f5; border: 1px solid #d9d9de; padding: 8px 12px; min-width: 46rem; }}
.out {{ margin-left: 62px; }}
b {{ font-weight: 700; }} i {{ font-style: normal; opacity: .72; }}
</style><div id="shot">{body}</div></html>"""
README = """<!doctype html><html lang="en"><meta charset="utf-8"><base href="{base}"><style>
body {{ margin: 0 auto; max-width: 860px; padding: 24px; color: #1f2328; }}
body {{ font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif; }}
h1, h2 {{ border-bottom: 1px solid #d1d9e0; padding-bottom: .3em; }} a {{ color: #0969da; }}
img {{ max-width: 100%; }} table {{ border-collapse: collapse; display: block; overflow: auto; }}
th, td {{ border: 1px solid #d1d9e0; padding: 6px 13px; }}
code {{ background: #eff1f3; padding: .2em .4em; border-radius: 6px; font-size: 85%; }}
pre {{ background: #f6f8fa; padding: 16px; border-radius: 6px; overflow: auto; }}
pre code {{ padding: 0; background: none; }}
</style>{body}</html>"""
CALL = """run = stream.run_stream(table, batch_size=4, background=True)
run"""


def main() -> int:
    """Run a stream and picture it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, help="where the stream is run [a temporary folder]")
    parser.add_argument(
        "--only", nargs="+", choices=("terminal", "notebook", "report", "painting", "pages"),
        default=("terminal", "notebook", "report", "painting", "pages"),
    )  # fmt: skip
    options = parser.parse_args()
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        work = options.work or Path(scratch)
        features = work / "features"
        live = {"terminal", "notebook"} & set(options.only)
        if "painting" in options.only:
            painting(browser, work.with_name(f"{work.name}_painting"))
        if "pages" in options.only:
            readme(browser)
            pages(browser, Path(scratch) / "site")
        if not {"terminal", "notebook", "report"} & set(options.only):
            return 0
        if live or not (features / "journal.sqlite").exists():
            shutil.rmtree(work, ignore_errors=True)
            run = start(work)
            half_way(run)
            if "notebook" in live:
                notebook(browser, run._repr_html_().replace(f"{work}/", ""))
            if "terminal" in live:
                terminal(browser, features)
            run.wait()
        if "report" in options.only:
            report(browser, features)
    return 0


def start(work: Path) -> BackgroundRun:
    """Stream a simulated screen of two plates in the background; one of its movies is missing."""
    from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen
    from idrstream.demo import config_for

    spec = ScreenSpec(
        plates=2, wells_per_plate=16, frames=3, height=512, width=672, nuclei_per_frame=45,
        wanted_frames=(2,),
    )  # fmt: skip
    screen = simulate_screen(work / "screen", spec)
    sorted((work / "screen").rglob("*_01.ch5"))[2].unlink()
    features = work / "features"
    stream = IdrStream("idr0013", work / "tmp", features, log=features / "stream.log")
    stream.init_downloader(
        make_downloader(method="local", root=screen.folder, screens_path=screen.screens_path)
    )
    stream.init_preprocessor(None, True, illumination_context="plate")
    stream.init_segmentor(
        {"model_type": "idrstream-nuclei", "diameter": 0, "remove_edge_masks": True}
    )
    stream.copy_DP_files(config_for(spec.height, spec.width, work))
    return stream.run_stream(
        read_table(screen.table_path), batch_size=4, extra_metadata=["object_outlines"],
        disk_budget="200MB", progress=False, background=True,
    )  # fmt: skip


def half_way(run: BackgroundRun) -> None:
    """Wait until about half of the images are done."""
    while run.running:
        status = run.status()
        if status.images and status.images_done * 2 >= status.images:
            time.sleep(2)  # what runs is told twice a second, apart from what is done
            return
        time.sleep(0.2)
    message = "the stream ended before it could be pictured"
    raise SystemExit(message)


def notebook(browser: Browser, picture: str) -> None:
    """Picture the handle as a notebook shows it below its cell."""
    cell = f'<div class="in"><span>In [5]:</span><pre>{html.escape(CALL)}</pre></div>'
    body = f'{cell}<div class="out">{picture}</div>'
    page = PAGE.format(title="notebook", ground="#ffffff", ink="#1c1c1f", body=body)
    shoot(browser, "notebook.png", page)


def terminal(browser: Browser, features: Path) -> None:
    """Picture ``idrstream status --watch`` on a terminal."""
    seen = watched([sys.executable, "-m", "idrstream", "status", str(features), "--watch"])
    prompt = "<b>$ idrstream status features --watch</b>\n"
    body = f"<pre>{prompt}{coloured(seen.replace(f'{features.parent}/', ''))}</pre>"
    page = PAGE.format(title="terminal", ground="#16202a", ink="#e3edf3", body=body)
    shoot(browser, "terminal.png", page)


def watched(command: list[str]) -> str:
    """Run a command on a terminal of its own and return the first picture that it draws."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    seen, deadline = b"", time.monotonic() + 60
    try:
        # The end of a picture clears what was below it.
        while b"\x1b[J" not in seen and time.monotonic() < deadline:
            if select.select([ours], [], [], 0.5)[0]:
                seen += os.read(ours, 65_536)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        os.close(theirs)
        os.close(ours)
    first = seen.decode("utf-8", "replace").partition("\x1b[J")[0]
    return OTHER_CODES.sub("", first).replace("\r\n", "\n").rstrip()


def coloured(text: str) -> str:
    """Turn a terminal's colours into HTML."""
    parts, closing = [], ""
    for number, piece in enumerate(SGR.split(text)):
        if number % 2 == 0:
            parts.append(html.escape(piece))
            continue
        parts.append(closing)
        closing = ""
        for code in piece.split(";"):
            if code in WEIGHTS:
                parts.append(f"<{WEIGHTS[code]}>")
                closing = f"</{WEIGHTS[code]}>{closing}"
            elif code in COLOURS:
                parts.append(f'<span style="color:{COLOURS[code]}">')
                closing = f"</span>{closing}"
    return "".join([*parts, closing])


def report(browser: Browser, features: Path) -> None:
    """Picture the top of the report and its maps of plates."""
    command = [sys.executable, "-m", "idrstream", "report", features.name]
    done = subprocess.run(command, cwd=features.parent, capture_output=True, text=True, check=True)
    pages = sorted(features.glob("report*.html"))
    if not pages:
        raise SystemExit(f"no report in {features}: {done.stdout}")
    # Where it was run on this machine is of no use to a reader.
    shown = features.parent / "shown.html"
    text = pages[0].read_text(encoding="utf-8")
    shown.write_text(text.replace(f"{features.parent.resolve()}/", ""), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1200, "height": 1100}, device_scale_factor=1)
    page = context.new_page()
    page.goto(shown.resolve().as_uri())
    save("report.png", page.screenshot())
    page.locator("#plates").evaluate("element => element.scrollIntoView()")
    save("report_plates.png", page.screenshot())
    context.close()


def readme(browser: Browser) -> None:
    """Picture README, much as GitHub shows it."""
    import markdown  # type: ignore[import-untyped]  # comes with mkdocs

    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->\n", "", text)
    body = markdown.markdown(text, extensions=["tables", "fenced_code", "sane_lists"])
    page_html = README.format(base=f"{PROJECT.as_uri()}/", body=body)
    with tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as shown:
        shown.write(page_html)
        shown.flush()
        for name, (width, height) in WINDOWS.items():
            look(browser, Path(shown.name).as_uri(), f"readme{name}", width, round(1.6 * height))


def pages(browser: Browser, site: Path) -> None:
    """Build the documentation and picture some of its pages."""
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--strict",
        "--site-dir",
        str(site),
    ]
    subprocess.run(command, cwd=PROJECT, check=True)
    for page in PAGES:
        for name, (width, height) in WINDOWS.items():
            address = (site / f"{page}.html").as_uri()
            look(browser, address, f"{Path(page).name}{name}", width, height)


def look(browser: Browser, address: str, name: str, width: int, height: int) -> None:
    """Picture the top of a page in a window of a size."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(address)
    SCREENS.mkdir(exist_ok=True)
    save(f"{name}.png", page.screenshot(), SCREENS)
    context.close()


def painting(browser: Browser, folder: Path) -> None:
    """Picture what the report of the demo with five channels says of features and cells."""
    page_path = folder / "features" / "report.html"
    if not page_path.exists():
        command = [sys.executable, "-m", "idrstream", "demo", str(folder), "--channels", "5"]
        subprocess.run([*command, "--force"], check=True)
    context = browser.new_context(viewport={"width": 1200, "height": 900}, device_scale_factor=1)
    page = context.new_page()
    page.goto(page_path.resolve().as_uri())
    figures = page.locator("#features ~ div.charts")
    save("report_families.png", figures.screenshot())
    crops = page.locator("section[aria-labelledby=pictures] figure img + img").first
    save("report_cells.png", crops.screenshot())
    context.close()


def shoot(browser: Browser, name: str, page_html: str) -> None:
    """Picture the box of a page."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, device_scale_factor=1.5)
    page = context.new_page()
    page.set_content(page_html)
    save(name, page.locator("#shot").screenshot())
    context.close()


def save(name: str, content: bytes, folder: Path = TARGET) -> None:
    """Write a picture with at most 256 colours, and say how large it is."""
    picture = Image.open(io.BytesIO(content)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    path = folder / name
    picture.save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path.relative_to(PROJECT)}: {size / 1000:.0f} kB")
    if size > LIMIT_BYTES:
        raise SystemExit(f"{name} has more than {LIMIT_BYTES} bytes")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("Chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
