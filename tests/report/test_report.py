"""The report of real streams: what it warns of, what is on the page, how a browser shows it."""

import dataclasses
import json
import re
import shutil
import sqlite3
import warnings
from contextlib import closing

import pandas as pd
import pytest
from browser import NARROW, SCHEMES, WIDE, opened

from idrstream.cli.main import main
from idrstream.errors import JournalError, StorageError
from idrstream.quality.pictures import picture_key, picture_paths, shown_nuclei
from idrstream.report.data import read_folder
from idrstream.report.findings import find_warnings
from idrstream.report.write import write_report

PAPER = 703  # pixels between the margins of A4
FONTS = """() => [...new Set([...document.querySelectorAll('main *, header *, footer *')]
    .filter(one => [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
    .map(one => getComputedStyle(one).fontFamily))]"""


@pytest.fixture(scope="module")
def page(planted):
    return planted.report().path


class TestWarnings:
    def test_the_five_planted_problems_and_no_sixth(self, planted):
        found = find_warnings(read_folder(planted.final_data_dir))
        assert sorted((item.kind, item.subject) for item in found) == [
            ("empty", "SIM0001_01 A15"),
            ("failed", "download"),
            ("plate", "SIM0002_01"),
            ("saturated", "SIM0001_01 B2"),
            ("vignetting", "SIM0003_01"),
        ]
        words = {item.kind: item.text for item in found}
        assert "out of focus" in words["plate"]
        assert "brightness" not in words["plate"]  # its intensity is lower, but as it is blurred
        assert "SIM0001_01 M13" in words["failed"]

    def test_none_on_a_clean_screen(self, clean):
        assert find_warnings(read_folder(clean.final_data_dir)) == ()

    def test_a_wrong_image_size_is_not_told_as_a_fault_of_segmentation(self, clean):
        data = read_folder(clean.final_data_dir)
        failures = pd.DataFrame({"Stage": ["write"], "Plate": ["P"], "Well": ["A1"], "Batch": [0]})
        (found,) = find_warnings(dataclasses.replace(data, failures=failures))
        assert found.text == "1 image could not be prepared for profiling: P A1."


class TestCounts:
    """Counts of nuclei between plates and wells, from quality measures that are written anew."""

    @pytest.fixture
    def folder(self, clean, tmp_path):
        return shutil.copytree(clean.final_data_dir, tmp_path / "out")

    def found(self, folder, change):
        """Return the warnings after a change of the measures of all frames."""
        for path in sorted((folder / "qc").glob("batch_*.csv")):
            rows = pd.read_csv(path, dtype=str, keep_default_na=False)
            change(rows)
            rows.to_csv(path, index=False)
        return write_report(folder, features=False).warnings

    def test_a_plate_without_nuclei(self, folder):
        def empty(rows):
            rows.loc[rows["Plate"] == "SIM0002_01", ["Nuclei", "Area", "Intensity"]] = ["0", "", ""]

        (warned,) = self.found(folder, empty)
        assert (warned.kind, warned.subject) == ("empty", "SIM0002_01")
        assert warned.text == "Plate SIM0002_01 is empty: no nucleus was found in its 6 frames."

    def test_a_screen_without_nuclei(self, folder):
        def empty(rows):
            rows[["Nuclei", "Area", "Intensity"]] = ["0", "", ""]

        (warned,) = self.found(folder, empty)
        assert (warned.kind, warned.subject) == ("empty", "screen")
        assert "No nucleus was found in any of the 30 frames" in warned.text

    def test_wells_without_nuclei_on_a_plate_that_has_hardly_any(self, folder):
        def empty(rows):
            mine = rows.index[rows["Plate"] == "SIM0002_01"]
            rows.loc[mine[:4], ["Nuclei", "Area", "Intensity"]] = ["0", "", ""]

        warned = {item.kind: item for item in self.found(folder, empty)}
        assert "4 of 6 wells of plate SIM0002_01 have no nuclei" in warned["empty"].text

    def test_a_sparse_plate_is_told_so_and_is_not_out_of_focus(self, folder):
        def sparse(rows):
            mine = rows["Plate"] == "SIM0002_01"
            rows.loc[mine, "Nuclei"] = "2"
            rows.loc[mine, "Focus"] = (rows.loc[mine, "Focus"].astype(float) - 0.3).astype(str)

        (warned,) = self.found(folder, sparse)
        assert (warned.kind, warned.subject) == ("plate", "SIM0002_01")
        assert "has few nuclei (median 2 in a frame, other plates" in warned.text
        assert "focus" not in warned.text

    def test_a_sparse_plate_that_is_blurred_is_told_as_both(self, folder):
        def sparse(rows):
            mine = rows["Plate"] == "SIM0002_01"
            rows.loc[mine, "Nuclei"] = "2"
            rows.loc[mine, "Focus"] = (rows.loc[mine, "Focus"].astype(float) - 2.0).astype(str)

        (warned,) = self.found(folder, sparse)
        assert "has few nuclei" in warned.text
        assert "out of focus" in warned.text

    def test_a_batch_that_measured_no_frame_is_no_trouble(self, folder):
        path = folder / "qc" / "batch_0.csv"
        n_rows = len(pd.read_csv(path))
        path.write_text(path.read_text().splitlines()[0] + "\n")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = read_folder(folder)
        assert len(data.frames) == 30 - n_rows


class TestFolder:
    def test_a_picture_is_found_by_plate_well_and_frame(self, clean):
        frames = read_folder(clean.final_data_dir).frames
        for row in frames.itertuples():
            key = picture_key(row.Plate, row.Well_Number, row.Site, row.Frame)
            frame, crops = picture_paths(clean.final_data_dir, key)
            assert frame.is_file()
            assert crops.is_file() == bool(row.Nuclei)
            assert all(1 <= number <= row.Nuclei for number in shown_nuclei(key, row.Nuclei))

    def test_the_folder_is_proven_with_its_new_files(self, planted):
        planted.report()
        found = planted.verify()
        assert found.others == ()
        assert found.problems == ()

    def test_a_stream_of_before_has_no_measures_and_says_so(self, clean, tmp_path):
        folder = tmp_path / "old"
        shutil.copytree(clean.final_data_dir, folder)
        for name in ("qc", "pictures"):
            shutil.rmtree(folder / name)
        report = write_report(folder)
        text = report.path.read_text()
        assert "5 of 5 batches that are done have no quality measures" in text
        assert report.warnings == ()
        assert "First look at the features" in text

    def test_a_folder_without_a_stream(self, tmp_path):
        with pytest.raises(JournalError):
            write_report(tmp_path)

    def test_a_page_that_cannot_be_written(self, clean, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(StorageError, match="--out"):
            write_report(clean.final_data_dir, tmp_path / "file" / "page.html", features=False)


class TestPage:
    def test_what_failed_and_the_calls_that_rerun_it(self, planted, page):
        text = page.read_text()
        assert f"idrstream rerun {planted.final_data_dir} --batch-nums 0" in text
        kind = planted.failed()["Kind"].iloc[0]
        assert f"stream.rerun_failed(&#39;{kind}&#39;)" in text

    def test_what_was_run(self, planted, page):
        text = page.read_text()
        assert planted.model.describe()["checkpoint_sha256"] in text
        assert "torch" in text
        assert re.search(r"local: idr0013-neumann-mitocheck/\S+</th><td>5 frames", text)

    def test_controls_are_compared_by_copairs(self, page):
        pytest.importorskip("copairs")
        text = page.read_text()
        assert "by copairs" in text
        assert "negative control (" in text

    def test_its_style_is_as_it_was_written(self, page):
        style = page.read_text().partition("<style>")[2].partition("</style>")[0]
        assert '"Segoe UI"' in style
        assert "&" not in style

    def test_a_short_run_is_drawn_over_minutes(self, page):
        text = page.read_text()
        assert "minutes since the run started" in text
        assert "hours since" not in text

    def test_names_from_elsewhere_are_escaped(self, clean, tmp_path):
        folder = tmp_path / "out"
        shutil.copytree(clean.final_data_dir, folder)
        qc = folder / "qc" / "batch_0.csv"
        qc.write_text(qc.read_text().replace("local: ", "<script>alert(1)</script>local: "))
        assert "<script>" not in write_report(folder, features=False).path.read_text()

    @pytest.mark.parametrize(
        ("name", "number"), [("S1000000000", 10**12), ("A9999", 9999), ("ZZ1", 5), ("", -7)]
    )
    def test_a_well_on_no_plate_is_a_sentence(self, clean, tmp_path, name, number):
        folder = tmp_path / "out"
        shutil.copytree(clean.final_data_dir, folder)
        with closing(sqlite3.connect(folder / "journal.sqlite")) as journal, journal:
            journal.execute("UPDATE images SET well = ?, well_number = ?", (name, number))
        with pytest.raises(JournalError, match="on no plate"):
            write_report(folder, features=False)

    def test_a_notebook_shows_it(self, page):
        from idrstream.report.write import Report

        shown = Report(page, ())._repr_html_()
        assert shown.startswith("<iframe")
        assert shown.count("<") == 2  # the page is inside, as text

    def test_the_command_tells_the_warnings(self, planted, tmp_path, capsys):
        out = tmp_path / "page.html"
        words = [
            "report",
            str(planted.final_data_dir),
            "--out",
            str(out),
            "--no-features",
            "--json",
        ]
        assert main(words) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["path"] == str(out)
        assert len(told["warnings"]) == 5
        assert "The features were skipped" in out.read_text()

    def test_watching_a_stream_that_is_over_ends_at_once(self, clean, tmp_path, capsys):
        out = tmp_path / "page.html"
        assert main(["report", str(clean.final_data_dir), "--out", str(out), "--watch"]) == 0
        assert "setInterval" not in out.read_text()
        assert "No warnings" in capsys.readouterr().out


class TestBrowser:
    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize("width", [NARROW, WIDE])
    def test_nothing_is_wrong(self, chromium, page, width, scheme):
        with opened(chromium, page, width=width, scheme=scheme) as seen:
            assert seen.faults() == []
            assert seen.page.locator("main img").count() > 30
            assert seen.page.locator(".warnings li").count() == 5

    def test_one_family_of_letters_everywhere(self, chromium, page):
        with opened(chromium, page) as seen:
            used = seen.page.evaluate(FONTS)
        assert len(used) == 2, used  # one for text, also in charts, and one for code
        assert all(family.endswith(("sans-serif", "monospace")) for family in used)

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_paper_has_all_and_nothing_to_press(self, chromium, page, tmp_path, scheme):
        text = page.read_text()
        name = "SIM0004_01"
        folded = re.sub(
            rf"<h3>{name}</h3>\s*(<div class=\"plates\">.*?</div>)",
            rf'<details class="plate"><summary>{name}</summary>\1</details>',
            text,
            flags=re.DOTALL,
        )
        assert folded != text
        path = tmp_path / "page.html"
        path.write_text(folded)
        with opened(chromium, path, width=PAPER, scheme=scheme) as seen:
            seen.page.emulate_media(media="print", color_scheme=scheme)
            assert seen.wide() == []
            for what in ("nav", ".skip", "details.plate"):
                assert not seen.page.locator(what).first.is_visible(), what
            assert seen.page.locator("details:not(.plate) dd").first.is_visible()
            assert seen.page.locator("p.paper").is_visible()
            style = "getComputedStyle(document.body).backgroundColor"
            assert seen.page.evaluate(style) == "rgb(255, 255, 255)"
            # Example frames stand three in a row; the plate that is folded up takes no page.
            pages = seen.page.pdf(format="A4").count(b"/Type /Page\n")
        assert 8 <= pages <= 12

    def test_a_watched_page(self, chromium, clean, tmp_path):
        page = write_report(
            clean.final_data_dir, tmp_path / "page.html", features=False, watch_s=30
        ).path
        with opened(chromium, page, width=NARROW) as seen:
            assert seen.faults() == []
            assert seen.page.get_by_label("Reload this page every 30 s").is_checked()

    def test_the_first_stop_of_the_keyboard_leads_to_the_content(self, chromium, page):
        with opened(chromium, page) as seen:
            seen.page.keyboard.press("Tab")
            assert seen.page.evaluate("document.activeElement.textContent") == "To the content"
            seen.page.keyboard.press("Enter")
            assert seen.page.evaluate("document.activeElement.id") == "main"


def test_a_file_that_is_no_page_is_not_written_over(clean):
    journal = clean.final_data_dir / "journal.sqlite"
    before = journal.read_bytes()
    with pytest.raises(StorageError, match="no HTML page; choose another file with --out"):
        write_report(clean.final_data_dir, journal, features=False)
    assert journal.read_bytes() == before
