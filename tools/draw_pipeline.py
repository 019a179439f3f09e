"""Draws images/pipeline.svg: the way of an image from the archive to a published table.

images/pipeline_upright.svg is the same for narrow windows. Plain SVG without a library; the same
script gives the same bytes. ``--check`` says whether the pictures in images/ are those that this
script draws.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

IMAGES = Path(__file__).resolve().parents[1] / "images"
WIDTH, HEIGHT = 1080, 610
BOX_W, BOX_H, GAP = 140, 128, 30
LEFT, ROW_1, ROW_2 = 45, 92, 318
# The upright picture: a step is a row.
NARROW, STEP_X, STEP_W, STEP_H, STEP_GAP = 360, 26, 308, 76, 30
TITLE = "The way of an image through idrstream"
DESCRIPTION = (
    "Two rows of steps. First row, for every image: the archive (HTTPS, FTP, S3, Aspera, a "
    "mirror or OME-Zarr); download; complete, where the file is proven whole; read, where the "
    "wanted frames are taken and the movie is deleted; correct, where BaSiC evens the light; "
    "segment, where Cellpose finds the nuclei. Second row, for every batch: locations, where "
    "the nuclei are; profile, with 1280 features for every nucleus, some frames at a time; "
    "compile, by pycytominer with index.csv, into one table; publish under the final name, after "
    "which the batch's files are deleted; the output folder with batch_0.csv.gz and so on. A "
    "dashed frame around the steps is the disk budget on the folder of intermediate files. "
    "Lanes do the steps side by side. Below, the journal records every step: after a crash "
    "the same call does what is left."
)
STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif; }
.ground { fill: #f6f9fa; stroke: #d5e0e4; }
.box { fill: #ffffff; stroke: #8fa7b1; }
.outer { fill: #e6f1f4; stroke: #6f93a1; }
.name { font-size: 17px; font-weight: 650; fill: #12303f; }
.note { font-size: 11.5px; fill: #3d5763; }
.large { font-size: 13.5px; fill: #3d5763; }
.lane { fill: #dcefeb; stroke: #8fc4ba; }
.lane-text { font-size: 11.5px; fill: #0c584b; font-weight: 600; }
.row { font-size: 14px; fill: #3d5763; font-weight: 600; }
.flow { stroke: #12303f; fill: none; stroke-width: 2.2; }
.head { fill: #12303f; }
.budget { fill: none; stroke: #b56a00; stroke-dasharray: 7 5; stroke-width: 1.8; }
.budget-text { font-size: 13.5px; fill: #8a4b00; font-weight: 600; }
.gone { font-size: 12px; fill: #8a4b00; font-style: italic; }
.journal { fill: #e9e6f6; stroke: #9b8fcb; }
.journal-text { font-size: 14px; fill: #352a6b; }
.tick { stroke: #7a6cba; stroke-width: 1.4; stroke-dasharray: 2 4; fill: none; }
.dark { fill: #17303d; }
.cell { fill: #58b9d6; }
.cell-dim { fill: #2f6478; }
.outline { fill: none; stroke: #ffb84d; stroke-width: 1.8; }
.line { stroke: #7d97a2; fill: none; stroke-width: 1.5; }
.good { stroke: #12836f; fill: none; stroke-width: 3.2; }
.fill { fill: #a9c6d0; }
.fill-2 { fill: #58a99c; }
.paper { fill: #eef4f6; stroke: #7d97a2; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  .ground { fill: #101c23; stroke: #2b414c; }
  .box { fill: #182a33; stroke: #55727f; }
  .outer { fill: #1d3742; stroke: #6f93a1; }
  .name { fill: #eaf3f6; }
  .note, .large, .row { fill: #b4c9d2; }
  .lane { fill: #163f38; stroke: #3c7d71; }
  .lane-text { fill: #a5e3d6; }
  .flow { stroke: #d5e5ec; }
  .head { fill: #d5e5ec; }
  .budget { stroke: #e0a04a; }
  .budget-text, .gone { fill: #f3bd75; }
  .journal { fill: #2a2548; stroke: #6e62a8; }
  .journal-text { fill: #d9d2ff; }
  .tick { stroke: #9a8ddb; }
  .dark { fill: #060e13; }
  .line { stroke: #8ea8b4; }
  .good { stroke: #4fd1b8; }
  .fill { fill: #4b6d7b; }
  .paper { fill: #22363f; stroke: #8ea8b4; }
}
"""
# Nuclei of the little fields of view: centre and radii in a field of 84 x 50.
NUCLEI = (
    (14, 13, 7, 5),
    (36, 10, 6, 6),
    (62, 14, 8, 5),
    (24, 33, 6, 7),
    (47, 30, 8, 6),
    (71, 37, 6, 5),
)

Icon = Callable[[float, float], str]


def rect(x: float, y: float, w: float, h: float, kind: str, radius: float = 4) -> str:
    """Draw a rectangle with round corners."""
    return (
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{radius:g}"/>'
    )


def text(x: float, y: float, words: str, kind: str, anchor: str = "middle") -> str:
    """Write one line."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def path(kind: str, *steps: str) -> str:
    """Draw a line through steps of path data."""
    return f'<path class="{kind}" d="{" ".join(steps)}"/>'


def arrow(x: float, y: float, length: float = GAP) -> str:
    """Draw an arrow to the right that begins and ends a little off the boxes."""
    start, end = x + 3, x + length - 3
    return path("flow", f"M{start:g} {y:g}H{end - 7:g}") + head(end, y)


def head(x: float, y: float) -> str:
    """Draw the head of an arrow to the right, with its point at (x, y)."""
    return path("head", f"M{x:g} {y:g}l-10 -6v12z")


def field(x: float, y: float, *, outlines: bool = False) -> str:
    """Draw a field of view with nuclei."""
    parts = [rect(x, y, 84, 50, "dark", 3)]
    for cx, cy, rx, ry in NUCLEI:
        place = f'cx="{x + cx:g}" cy="{y + cy:g}"'
        parts.append(f'<ellipse class="cell" {place} rx="{rx}" ry="{ry}"/>')
        if outlines:
            parts.append(f'<ellipse class="outline" {place} rx="{rx + 1.6:g}" ry="{ry + 1.6:g}"/>')
    return "".join(parts)


def archive(x: float, y: float) -> str:
    """Draw plates in a stack."""
    parts = [rect(x + 15 + 6 * n, y + 2 + 5 * n, 50, 34, "paper", 3) for n in range(3)]
    wells = [
        f'<circle class="fill-2" cx="{x + 34 + 9 * column:g}" cy="{y + 20 + 9 * row:g}" r="2.8"/>'
        for row in range(3)
        for column in range(5)
    ]
    return "".join(parts + wells)


def download(x: float, y: float) -> str:
    """Draw an arrow into a tray."""
    return path("good", f"M{x + 42:g} {y + 3:g}v27", "m-11 -11l11 11l11 -11") + path(
        "line", f"M{x + 16:g} {y + 32:g}v13h52v-13"
    )


def complete(x: float, y: float) -> str:
    """Draw a file with a tick."""
    page = path("paper", f"M{x + 24:g} {y + 1:g}h26l12 12v36h-38z")
    return page + path("good", f"M{x + 32:g} {y + 29:g}l8 9l15 -18")


def read(x: float, y: float) -> str:
    """Draw a film with one frame taken out of it."""
    parts = [rect(x, y + 8, 84, 34, "dark", 3)]
    kinds = ("cell-dim", "cell-dim", "cell", "cell-dim")
    parts += [rect(x + 5 + 19.5 * n, y + 14, 15.5, 22, kind, 2) for n, kind in enumerate(kinds)]
    parts.append(rect(x + 41.5, y + 11.5, 20.5, 27, "outline", 3))
    return "".join(parts)


def correct(x: float, y: float) -> str:
    """Draw a field, its left half vignetted, its right half even."""
    parts = [rect(x, y, 84, 50, "dark", 3)]
    for cx, cy, rx, ry in NUCLEI:
        kind = "cell-dim" if cx < 42 else "cell"
        parts.append(
            f'<ellipse class="{kind}" cx="{x + cx:g}" cy="{y + cy:g}" rx="{rx}" ry="{ry}"/>'
        )
    parts.append(path("outline", f"M{x + 42:g} {y:g}v50"))
    return "".join(parts)


def segment(x: float, y: float) -> str:
    """Draw a field with outlined nuclei."""
    return field(x, y, outlines=True)


def table(x: float, y: float) -> str:
    """Draw a table with a header."""
    parts = [rect(x + 12, y, 60, 50, "paper", 3), rect(x + 12, y, 60, 11, "fill-2", 3)]
    parts += [path("line", f"M{x + 12:g} {y + 11 + 10 * n:g}h60") for n in range(1, 4)]
    parts += [path("line", f"M{x + 12 + 20 * n:g} {y + 11:g}v39") for n in range(1, 3)]
    return "".join(parts)


def vectors(x: float, y: float) -> str:
    """Draw a feature vector for each of three nuclei."""
    parts = []
    for row in range(3):
        middle = y + 9 + 16 * row
        parts.append(f'<circle class="cell" cx="{x + 9:g}" cy="{middle:g}" r="6.5"/>')
        for column in range(9):
            height = 3 + 9 * abs(math.sin(1.7 * column + 2.3 * row))
            parts.append(rect(x + 23 + 6.8 * column, middle + 6 - height, 4.6, height, "fill-2", 1))
    return "".join(parts)


def project(x: float, y: float) -> str:
    """Draw frames beside a list of locations."""
    return (
        f'<g transform="translate({x - 2:g} {y + 4:g}) scale(.66)">{field(0, 0, outlines=True)}</g>'
        + (f'<g transform="translate({x + 38:g} {y + 13:g}) scale(.74)">{table(0, 0)}</g>')
    )


def publish(x: float, y: float) -> str:
    """Draw a table that is ticked off."""
    return table(x - 6, y) + path("good", f"M{x + 60:g} {y + 30:g}l7 8l14 -18")


def folder(x: float, y: float) -> str:
    """Draw a folder."""
    back = path("paper", f"M{x + 10:g} {y + 46:g}v-42h22l6 7h36v35z")
    return back + "".join(
        rect(x + 20, y + 20 + 8 * n, 44 - 8 * n, 4, "fill-2", 2) for n in range(3)
    )


# Name, picture, two lines below the name, and the lane that does it.
FIRST: tuple[tuple[str, Icon, str, str, str], ...] = (
    ("archive", archive, "HTTPS, FTP, S3,", "Aspera, OME-Zarr", ""),
    ("download", download, "the wanted frames", "or the whole movie", "download"),
    ("complete", complete, "every byte is there,", "or it is not opened", "download"),
    ("read", read, "the wanted frames", "of the movie", "preprocess"),
    ("correct", correct, "BaSiC evens the light,", "intensity is kept", "illumination, preprocess"),
    ("segment", segment, "Cellpose finds and", "outlines the nuclei", "segment"),
)
SECOND: tuple[tuple[str, Icon, str, str, str], ...] = (
    ("locations", project, "where the nuclei are,", "frame by frame", "profile"),
    ("profile", vectors, "DeepProfiler's network:", "a vector per nucleus", "profile"),
    ("compile", table, "pycytominer merges", "index and features", "compile"),
    ("publish", publish, "checked, then moved", "to its final name", "compile"),
    ("features/", folder, "batch_0.csv.gz, ...", "one row per nucleus", ""),
)


def step(x: float, y: float, name: str, icon: Icon, lines: tuple[str, str], lane: str) -> str:
    """Draw a step, or a place outside the budget when it has no lane."""
    middle = x + BOX_W / 2
    parts = [
        rect(x, y, BOX_W, BOX_H, "box" if lane else "outer", 9),
        icon(middle - 42, y + 14),
        text(middle, y + 84, name, "name"),
        text(middle, y + 102, lines[0], "note"),
        text(middle, y + 118, lines[1], "note"),
    ]
    if lane:
        wide = 22 + 6.6 * len(lane)
        parts.append(rect(middle - wide / 2, y - 22, wide, 18, "lane", 9))
        parts.append(text(middle, y - 9, lane, "lane-text"))
    return "".join(parts)


def draw() -> str:
    """Return the picture."""
    pitch = BOX_W + GAP
    first = [LEFT + n * pitch for n in range(len(FIRST))]
    second = [LEFT + n * pitch + 115 for n in range(len(SECOND))]
    parts = [rect(0.5, 0.5, WIDTH - 1, HEIGHT - 1, "ground", 14)]
    parts += _budget(first, second)
    for xs, y, steps in ((first, ROW_1, FIRST), (second, ROW_2, SECOND)):
        for x, (name, icon, one, two, lane) in zip(xs, steps, strict=True):
            parts.append(step(x, y, name, icon, (one, two), lane))
        parts += [arrow(x + BOX_W, y + BOX_H / 2) for x in xs[:-1]]
    parts += _turn(first[-1], second[0])
    parts += _journal(second)
    return _svg(parts, WIDTH, HEIGHT)


def draw_upright() -> str:
    """Return the picture for narrow windows: the same steps, one below the other."""
    parts, y = [], 54.0
    tops: list[float] = []
    parts.append(text(STEP_X - 10, 30, "for every image", "row", "start"))
    for name, icon, one, two, lane in FIRST:
        tops.append(y)
        parts += _row(y, name, icon, (one, two), lane)
        y += STEP_H + STEP_GAP + (0 if lane else 14)
    parts.append(text(STEP_X + 84, y - 8, "then the movie is deleted", "gone", "start"))
    y += 20
    parts.append(text(STEP_X + 84, y + 2, "for every batch", "row", "start"))
    parts.append(path("flow", f"M{STEP_X + 52:g} {y - 47:g}V{y + 13:g}") + _down(y + 23))
    y += 26
    for number, (name, icon, one, two, lane) in enumerate(SECOND):
        tops.append(y)
        parts += _row(y, name, icon, (one, two), lane, last=number == len(SECOND) - 1)
        y += STEP_H + STEP_GAP
        if name == "publish":
            parts.append(text(STEP_X + 84, y + 4, "then the batch is deleted", "gone", "start"))
            y += 24
    inside = rect(
        12, tops[1] - 17, NARROW - 24, tops[len(FIRST) + 3] + STEP_H - tops[1] + 33, "budget", 8
    )
    label = text(STEP_X + 84, tops[1] - 22, "tmp/, within the disk budget", "budget-text", "start")
    words = (
        "records every step, failure, setting",
        "and digest. After a crash, a reboot or Ctrl-C",
        "the same call does what is left.",
    )
    journal = [
        rect(12, y - 4, NARROW - 24, 92, "journal", 9),
        f'<text class="journal-text" font-weight="700" x="24" y="{y + 18:g}">journal.sqlite</text>',
    ] + [text(24, y + 36 + 18 * at, line, "journal-text", "start") for at, line in enumerate(words)]
    high = round(y + 100)
    ground = rect(0.5, 0.5, NARROW - 1, high - 1, "ground", 14)
    return _svg([ground, inside, *parts, label, *journal], NARROW, high)


def _row(
    y: float, name: str, icon: Icon, lines: tuple[str, str], lane: str, *, last: bool = False
) -> list[str]:
    """Draw a step as a row, and below it an arrow to the next."""
    parts = [
        rect(STEP_X, y, STEP_W, STEP_H, "box" if lane else "outer", 9),
        icon(STEP_X + 10, y + 13),
        text(STEP_X + 108, y + 25, name, "name", "start"),
        text(STEP_X + 108, y + 46, lines[0], "large", "start"),
        text(STEP_X + 108, y + 64, lines[1], "large", "start"),
    ]
    if lane:
        wide = 22 + 6.6 * len(lane)
        right = STEP_X + STEP_W - 8
        parts.append(rect(right - wide, y - 9, wide, 18, "lane", 9))
        parts.append(text(right - wide / 2, y + 4, lane, "lane-text"))
    if not last and name != FIRST[-1][0]:
        # The arrows that cross the frame of the budget are longer.
        longer = {FIRST[0][0]: 14, SECOND[-2][0]: 24}.get(name, 0)
        end = y + STEP_H + STEP_GAP + longer - 3
        parts.append(path("flow", f"M{STEP_X + 52:g} {y + STEP_H + 3:g}V{end - 7:g}") + _down(end))
    return parts


def _down(y: float) -> str:
    """Draw the head of an arrow that points down, with its point at the arrows' column."""
    return path("head", f"M{STEP_X + 52:g} {y:g}l-6 -10h12z")


def _svg(parts: list[str], width: int, height: int) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-labelledby="title desc">\n'
        f'<title id="title">{escape(TITLE)}</title>\n<desc id="desc">{escape(DESCRIPTION)}</desc>\n'
        f"<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def _budget(first: list[float], second: list[float]) -> list[str]:
    """Draw the frame of the disk budget around all but the archive and the output folder."""
    left, right = first[1] - GAP / 2, WIDTH - 18
    top, bottom = 34, ROW_2 + BOX_H + 38
    edge = second[-1] - GAP / 2
    shelf = ROW_2 - 40
    low, step_down = second[0] - 44, ROW_1 + BOX_H + 20
    shape = path(
        "budget",
        f"M{left:g} {top}H{right}V{shelf:g}H{edge:g}V{bottom:g}H{low:g}V{step_down:g}H{left:g}Z",
    )
    return [
        shape,
        text(
            left + 14,
            top - 10,
            "tmp/ on your disk, within the disk budget that you set",
            "budget-text",
            "start",
        ),
        text(LEFT + 2, top - 10, "for every image", "row", "start"),
        text(first[3] + BOX_W / 2, ROW_1 + BOX_H + 21, "then the movie is deleted", "gone"),
        text(second[3] + BOX_W / 2, ROW_2 + BOX_H + 21, "then the batch is deleted", "gone"),
        rect(first[4] + 18, top - 24, 44, 18, "lane", 9),
        text(first[4] + 40, top - 11, "lane", "lane-text"),
        text(
            first[4] + 70, top - 11, "lanes work side by side, with back-pressure", "note", "start"
        ),
        text(LEFT - 22, ROW_2 + BOX_H / 2 - 6, "for every", "row", "start"),
        text(LEFT - 22, ROW_2 + BOX_H / 2 + 12, "batch", "row", "start"),
    ]


def _turn(last: float, first: float) -> list[str]:
    """Draw the way from the end of the first row to the beginning of the second."""
    x, y, middle = last + BOX_W / 2, ROW_1 + BOX_H, ROW_2 - 58
    end_y = ROW_2 + BOX_H / 2
    start = first - 27
    line = path(
        "flow",
        f"M{x:g} {y + 3:g}V{middle - 12:g}Q{x:g} {middle:g} {x - 12:g} {middle:g}",
        f"H{start + 12:g}Q{start:g} {middle:g} {start:g} {middle + 12:g}V{end_y - 12:g}",
        f"Q{start:g} {end_y:g} {start + 12:g} {end_y:g}H{first - 10:g}",
    )
    return [line, head(first - 3, end_y)]


def _journal(second: list[float]) -> list[str]:
    """Draw the journal below all steps."""
    top = ROW_2 + BOX_H + 66
    left, wide = LEFT - 22, WIDTH - 2 * (LEFT - 22)
    parts = [path("tick", f"M{x + BOX_W / 2:g} {top:g}V{ROW_2 + BOX_H + 3:g}") for x in second[:3]]
    parts += [
        rect(left, top, wide, 70, "journal", 9),
        f'<text class="journal-text" x="{left + 18:g}" y="{top + 30:g}">'
        '<tspan font-weight="700">journal.sqlite</tspan> records every step, failure, setting and '
        "digest. A batch counts as done when its table is published.</text>",
        text(
            left + 18, top + 52,
            "After a crash, a reboot or Ctrl-C the same call does what is left, and nothing twice.",
            "journal-text", "start",
        ),
    ]  # fmt: skip
    return parts


def main() -> int:
    """Write the pictures, or compare them with those that are there."""
    same = True
    for name, draws in (("pipeline.svg", draw), ("pipeline_upright.svg", draw_upright)):
        target, drawn = IMAGES / name, draws()
        if "--check" not in sys.argv[1:]:
            target.write_text(drawn, encoding="utf-8")
            continue
        one = target.exists() and target.read_text(encoding="utf-8") == drawn
        print(f"{name} is {'the one' if one else 'not the one'} that this script draws")
        same = same and one
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
