"""One step over a few images: real movies on a real web server, real illumination, real pages."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from local_servers import NGINX, nginx
from PIL import Image

from idrstream import make_downloader
from idrstream.cli.main import main
from idrstream.config import load_settings
from idrstream.config.save import save_options
from idrstream.errors import ConfigError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.preprocess import Preprocessor
from idrstream.preprocess.illumination import NoIllumination, PerPlate

pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx")


@pytest.fixture(scope="module")
def screen(quick, tmp_path_factory):
    return quick.make_screen(tmp_path_factory.mktemp("screen") / "mirror", plates=1)


@pytest.fixture
def web(screen, tmp_path):
    with nginx(tmp_path / "web") as served:
        for path in Path(screen.folder).rglob("*.ch5"):
            place = path.relative_to(screen.folder).as_posix()
            place = place[place.index("20150916-mitocheck-analysis") :]
            served.put(f"study/{place}", path.read_bytes())
        yield served


def requests(web):
    return [line for line in (web.home / "access.log").read_text().splitlines() if "GET" in line]


def pictures(look):
    """Return the pictures of a page, by their words."""
    page = look.path.read_text()
    found = re.findall(r'alt="([^"]*)" src="data:image/webp;base64,([^"]*)"', page)
    return {
        words: np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for words, data in found
    }


@pytest.fixture
def stream(quick, screen, web, tmp_path):
    stream = quick.make_stream(screen, tmp_path / "stream")
    downloader = make_downloader(
        method="https", https_root=web.address, idr_index_name="study",
        screens_path=screen.screens_path,
    )  # fmt: skip
    stream.init_downloader(downloader)
    stream.init_preprocessor(Preprocessor(CellH5Reader(), NoIllumination()))
    yield stream
    stream.close()


@pytest.fixture
def table(quick, screen):
    return quick.table_of(screen)


class TestStep:
    def test_runs_only_what_a_changed_setting_changes(self, quick, stream, web, table, tmp_path):
        out = tmp_path / "look"
        stream.init_preprocessor(Preprocessor(CellH5Reader(), quick.MeanOfPlate(tmp_path / "own")))
        first = stream.step("segment", table, images=2, out=out)
        assert first.failed == 0, first
        assert len(first.numbers) == 2
        assert first.made.pop("decoded") >= 4
        assert first.made == {"download": 2, "plate": 1, "preprocess": 2, "segment": 2}
        asked = requests(web)
        assert asked
        again = stream.step("segment", table, images=2, out=out)
        assert again.made == {}
        pd.testing.assert_frame_equal(first.numbers, again.numbers)
        stream.init_preprocessor(Preprocessor(CellH5Reader(), NoIllumination()))
        other = stream.step("segment", table, images=2, out=out)
        assert other.made == {"preprocess": 2, "segment": 2}  # nothing was decoded again
        assert requests(web) == asked  # and nothing downloaded
        stream.init_segmentor(quick.ThresholdSegmentor(0.95))
        fewer = stream.step("segment", table, images=2, out=out)
        assert fewer.made == {"segment": 2}
        assert (fewer.numbers["Median_Area_px2"] < other.numbers["Median_Area_px2"]).all()
        profiled = stream.step("profile", table, images=2, out=out)
        assert profiled.made == {"profile": 2}
        assert (profiled.numbers["Features"] == 1280).all()
        assert (profiled.numbers["Nuclei"] == fewer.numbers["Nuclei"]).all()

    def test_what_it_shows_is_what_the_stream_finds(self, stream, table, tmp_path):
        look = stream.step("segment", table.iloc[:2], images=5, out=tmp_path / "look")
        result = stream.run_stream(table.iloc[:2], progress=False)
        rows = pd.concat(
            pd.read_csv(path) for path in (tmp_path / "stream").rglob("batch_*.csv.gz")
        )
        numbers = dict(zip(table["Well"], table["Well Number"], strict=True))
        for one in look.numbers.itertuples():
            here = rows["Metadata_DNA"].str.endswith(f"_{numbers[one.Well]}_{one.Frame}.tif")
            assert here.sum() == one.Nuclei > 0
        assert result.nuclei > look.numbers["Nuclei"].sum()

    def test_pictures_have_the_outlines(self, stream, table, tmp_path):
        look = stream.step("segment", table, images=1, out=tmp_path / "look")
        (outlined,) = (one for words, one in pictures(look).items() if words.endswith("nuclei"))
        assert outlined.shape == (96, 128, 3)
        colour = np.ptp(outlined.astype(int), axis=2)
        assert (colour > 60).sum() > 30 * int(look.numbers["Nuclei"].iloc[0])
        area = f"Median Area {look.numbers['Median_Area_px2'].iloc[0]:.4g} px²"
        assert area in look.path.read_text()
        written = pd.read_csv(tmp_path / "look" / "images.csv")
        assert written["Nuclei"].tolist() == look.numbers["Nuclei"].tolist()

    def test_the_light_of_a_plate_is_fitted_on_the_sample(self, quick, stream, table, tmp_path):
        stream.init_preprocessor(Preprocessor(CellH5Reader(), quick.MeanOfPlate(tmp_path / "own")))
        look = stream.step("preprocess", table, images=4, out=tmp_path / "look")
        assert look.failed == 0, look
        assert look.made["plate"] == 1
        assert not (tmp_path / "own").exists()
        again = stream.step("preprocess", table, images=4, out=tmp_path / "look")
        assert again.made == {}
        assert look.numbers["Unevenness_After"].mean() < look.numbers["Unevenness_Before"].mean()
        assert isinstance(stream.preprocessor.illumination, PerPlate)

    def test_one_bad_movie_leaves_the_others(self, stream, web, table, tmp_path):
        bad = sorted(web.root.rglob("*.ch5"))[0]
        web.put(bad.relative_to(web.root).as_posix(), b"not a movie" * 1000)
        look = stream.step("segment", table, images=6, out=tmp_path / "look")
        assert (len(look.numbers), look.failed) == (6, 1)
        problem = look.numbers["Problem"].max()
        assert "Error" in problem
        assert problem.partition(":")[0] in look.path.read_text()
        assert (look.numbers["Nuclei"] > 0).sum() == 5

    def test_a_changed_source_is_not_taken_for_the_kept_movie(self, quick, screen, table, tmp_path):
        stream = quick.make_stream(screen, tmp_path / "stream", plate_model=False)
        look = stream.step("download", table, images=2, out=tmp_path / "look")
        for path in (tmp_path / "look" / "kept" / "movies").rglob("*.ch5"):
            path.write_bytes(path.read_bytes()[:-100])
        again = stream.step("download", table, images=2, out=tmp_path / "look")
        assert again.made["download"] == 2
        pd.testing.assert_frame_equal(
            look.numbers.drop(columns="Seconds"), again.numbers.drop(columns="Seconds")
        )
        stream.close()

    def test_refuses_what_it_cannot_do(self, stream, table, tmp_path):
        with pytest.raises(ConfigError, match="there is no step 'compile'"):
            stream.step("compile", table, out=tmp_path / "look")
        with pytest.raises(ConfigError, match="from_settings"):
            stream.step("segment", table, out=tmp_path / "look", compare={"diameter": (1, 2)})
        with pytest.raises(ConfigError, match="images is 0"):
            stream.step("segment", table, images=0, out=tmp_path / "look")


@pytest.fixture
def config(screen, web, tmp_path):
    path = tmp_path / "stream.toml"
    path.write_text(f"""# mine
[stream]
table = "{screen.table_path}"
final_data_dir = "out"
tmp_dir = "tmp"
[download]
method = "https"
https_root = "{web.address}"
idr_index_name = "study"
screens_path = "{screen.screens_path}"
[segment]
diameter = 12.0  # of last week
""")
    return path


class TestCommand:
    def test_compares_two_settings_and_saves_one(self, config, web, tmp_path, capsys):
        out = tmp_path / "look"
        line = ["step", "preprocess", str(config), "--images=1", f"--out={out}"]
        assert main([*line, "--compare", "perform_illumination_correction=true,false"]) == 0
        asked = requests(web)
        change = pd.read_csv(out / "differences.csv")
        assert (change["Mean_Difference"] > 0).all()
        assert (change["Unevenness_After_Change"] > 0).all()
        numbers = pd.read_csv(out / "images.csv")
        assert set(numbers["Settings"]) == {
            "perform_illumination_correction = true", "perform_illumination_correction = false",
        }  # fmt: skip
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "tmp").exists()
        capsys.readouterr()
        assert main([*line, "--illumination-darkfield", f"--save-to={config}"]) == 0
        said = capsys.readouterr().out
        assert "0 movies downloaded, 1 kept from before; 0 frames decoded, 2 kept" in said
        assert requests(web) == asked
        assert not (out / "differences.csv").exists()
        assert load_settings(config).preprocess.illumination_darkfield is True
        assert config.read_text().startswith("# mine\n[stream]\n")

    @pytest.mark.models
    def test_two_segmentations_side_by_side(self, config, tmp_path):
        out = tmp_path / "look"
        line = ["step", "segment", str(config), "--images=2", f"--out={out}"]
        assert main([*line, "--compare", "min_size=15,100000"]) == 0
        change = pd.read_csv(out / "differences.csv")
        lost = change["Only_In_First"].sum()
        assert lost > 0
        assert (change["Nuclei_Change"] == -change["Only_In_First"]).all()
        page = (out / "index.html").read_text()
        said = f"All images together: In Both 0, Only In First {lost}, Only In Second 0."
        assert said in page
        assert "Median Area Change" not in page  # nothing to compare with
        assert main([*line, "--compare", "min_size=15,16"]) == 0
        page = (out / "index.html").read_text()
        assert f"In Both {lost}, Only In First 0, Only In Second 0." in page
        assert "the same in both" in page

    def test_says_what_is_wrong(self, config, tmp_path, capsys):
        line = ["step", "segment", str(config), f"--out={tmp_path / 'look'}"]
        for more, said in {
            ("--compare", "diameter"): "expected SETTING=A,B",
            ("--compare", "diamter=1,2"): "diamter is no setting",
            ("--compare", "diameter=1,2,3"): "not 3",
            ("--save-to", str(config)): "--diameter 30",
        }.items():
            assert main([*line, *more]) == 2
            assert said in capsys.readouterr().err


class TestSaveOptions:
    def test_keeps_lines_and_comments(self, config):
        before = config.read_text()
        settings = load_settings(
            config, environment={},
            options={"diameter": "30", "cell_channels": "ER,DNA", "illumination_context": "plate"},
        )  # fmt: skip
        save_options(config, settings, ["diameter", "cell_channels", "illumination_context"])
        text = config.read_text()
        assert "diameter = 30.0  # of last week\n" in text
        assert '[preprocess]\nillumination_context = "plate"\n' in text
        assert load_settings(config, environment={}) == settings
        assert {line for line in before.splitlines() if "diameter" not in line} <= set(
            text.splitlines()
        )

    def test_writes_nothing_that_it_does_not_understand(self, config):
        config.write_text(
            config.read_text().replace(
                "diameter = 12.0", 'model_type = """x\ndiameter = 1"""\ndiameter = 12.0'
            )
        )
        settings = load_settings(config, environment={}, options={"diameter": "30"})
        text = config.read_text()
        with pytest.raises(ConfigError, match="yourself"):
            save_options(config, settings, ["diameter"])
        assert config.read_text() == text
