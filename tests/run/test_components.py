"""Which settings of the components an output folder is compared by."""

from __future__ import annotations

from pathlib import Path

import pytest

from idrstream import make_downloader, models
from idrstream.config import RunOptions
from idrstream.config.sections import PreprocessSettings, SegmentSettings, named_channels
from idrstream.download import Downloader
from idrstream.errors import ConfigError
from idrstream.folder.identity import differences
from idrstream.preprocess import make_preprocessor
from idrstream.profile import DeepModel, DeepProfilerEngine, TorchEngine
from idrstream.run.components import Components, StreamPaths, identity_of
from idrstream.segment import CellPoseSegmentor


class Part:
    def describe(self):
        return {}


class Mine(Downloader):
    def download(self, task, folder):
        raise NotImplementedError


def identity(downloader, preprocessor=None, plate_wells=1):
    paths = StreamPaths(
        study="S", folder=Path("o"), tmp_dir=Path("t"), complete_timeout_s=1.0,
        plate_wells=plate_wells,
    )  # fmt: skip
    components = Components(
        downloader=downloader,
        preprocessor=preprocessor or Part(),
        segmentor=Part(),
        model=Part(),
        engine=Part(),
    )
    return identity_of(paths, components, RunOptions())


def test_what_becomes_of_missing_chunks_changes_results_and_the_source_does_not():
    before = identity(make_downloader(method="https"))
    for same in (make_downloader(method="omezarr"), Mine()):
        assert differences(before, identity(same)) == []
    filled = identity(make_downloader(method="omezarr", missing_chunks="fill"))
    (difference,) = differences(before, filled)
    assert difference.startswith("download.missing_chunks was")
    # What was recorded before the option existed was recorded with its default.
    del before["download"]
    assert differences(before, identity(Mine())) == []
    assert differences(before, filled) == [difference]


@pytest.mark.parametrize("channels", [(), ("DNA", "ER")])
@pytest.mark.parametrize("darkfield", [False, True])
def test_the_wells_of_a_model_change_results_where_there_are_models_of_plates(channels, darkfield):
    def found(context, wells):
        settings = PreprocessSettings(
            illumination_context=context, illumination_darkfield=darkfield,
            image_channels=named_channels(channels),
        )  # fmt: skip
        return identity(Mine(), make_preprocessor(settings, Path("models")), wells)

    (difference,) = differences(found("plate", 12), found("plate", 6))
    assert difference == "preprocessor.plate_wells was 12, is 6"
    assert differences(found("frames", 12), found("frames", 6)) == []


def test_channels_that_nobody_reads_are_refused_before_the_first_download(tmp_path):
    model = DeepModel.read(models.profiler_config_path(), models.profiler_checkpoint_path())
    engines = [TorchEngine(model), DeepProfilerEngine(model, tmp_path)]

    def check(channels=(), segment_channel=""):
        settings = PreprocessSettings(image_channels=channels)
        segmentor = CellPoseSegmentor(SegmentSettings(segment_channel=segment_channel))
        for engine in engines:
            components = Components(
                downloader=Mine(), preprocessor=make_preprocessor(settings, tmp_path),
                segmentor=segmentor, model=model, engine=engine,
            )  # fmt: skip
            components.check_channels()

    check()
    check(("DNA=0", "ER=1"), "ER")
    check(("DAPI=0",))  # the one channel serves a model of one, whatever their names
    with pytest.raises(ConfigError, match=r"segment_channel is 'RNA', but .* DNA, ER"):
        check(("DNA=0", "ER=1"), "RNA")
    with pytest.raises(ConfigError, match=r"lists DNA, but the frames have ER, RNA"):
        check(("ER=0", "RNA=1"))
