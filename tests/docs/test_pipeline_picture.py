"""images/pipeline*.svg are those that tools/draw_pipeline.py draws, and say what they show."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from browser import opened

PROJECT = Path(__file__).resolve().parents[2]
PICTURES = (PROJECT / "images/pipeline.svg", PROJECT / "images/pipeline_upright.svg")
SVG = "{http://www.w3.org/2000/svg}"
# Each text lies within the picture, and those of a step within its box.
OUTSIDE = """() => {
    const place = element => element.getBoundingClientRect();
    const boxes = [...document.querySelectorAll('rect.box, rect.outer')].map(place);
    return [...document.querySelectorAll('text')].filter(text => {
        const at = place(text), x = (at.left + at.right) / 2, y = (at.top + at.bottom) / 2;
        const around = b => x > b.left && x < b.right && y > b.top && y < b.bottom;
        const box = boxes.find(around) || place(document.documentElement);
        return at.left < box.left || at.right > box.right;
    }).map(text => text.textContent);
}"""


def test_it_is_the_one_that_the_script_draws():
    script = PROJECT / "tools" / "draw_pipeline.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_it_has_a_text_alternative(picture):
    root = ElementTree.parse(picture).getroot()
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("aria-labelledby").split() == [title.get("id"), description.get("id")]
    steps = "archive download complete read correct segment index.csv profile compile publish"
    for step in [*steps.split(), "disk budget", "journal", "Lanes"]:
        assert step in description.text


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_no_text_reaches_out_of_its_box(chromium, picture):
    with opened(chromium, picture) as seen:
        assert seen.page.evaluate(OUTSIDE) == []
        assert seen.console == []
        assert seen.requests == []
