"""Looks at one step of a stream, with its settings or with two that are compared."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.config import all_options
from idrstream.config.load import layered
from idrstream.errors import ConfigError, TableError
from idrstream.stream.build import build_stream

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.config import Settings
    from idrstream.step.look import Side, StepLook
    from idrstream.step.show import Step
    from idrstream.stream.stream import IdrStream


def look_at_stream(
    stream: IdrStream,
    step: Step,
    table: pd.DataFrame,
    images: int,
    out: Path,
    compare: Mapping[str, Sequence[Any]],
) -> StepLook:
    """Look at a step of a stream; see `IdrStream.step`."""
    from idrstream.forecast.probe import choose_images
    from idrstream.screen import checked_rows, with_plate_format
    from idrstream.step.look import look

    if images < 1:
        raise ConfigError(f"images is {images}; a step is looked at on 1 or more")
    run = stream.settings.stream if stream.settings is not None else None
    table = with_plate_format(table, run.plate_format if run else None)
    ignore = run.ignore_invalid_inputs if run else False
    tasks = checked_rows(table, ignore_invalid=ignore).tasks
    if not tasks:
        raise TableError("the table has no image to look at")
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="idrstream-step-")))
        sides = [_side("", stream, folder)]
        if compare:
            sides = []
            for number, (name, settings) in enumerate(_variants(stream.settings, compare)):
                place = folder / str(number)
                where = dataclasses.replace(
                    settings.stream, tmp_dir=place / "tmp", final_data_dir=place / "out", log=None
                )
                other = build_stream(type(stream), dataclasses.replace(settings, stream=where))
                sides.append(_side(name, held.enter_context(closing(other)), place))
        if any(_is_by_plate(side, tasks[0].plate) for side in sides):
            (one,) = choose_images(tasks, 1, by_plate=False)
            tasks = tuple(task for task in tasks if task.plate == one.plate)
        return look(step, sides, choose_images(tasks, images, by_plate=False), out)


def _side(name: str, stream: IdrStream, folder: Path) -> Side:
    from idrstream.run.components import ENGINE
    from idrstream.step.look import Side

    components = stream.components()
    components.check_channels()
    engine = components.engine.in_folder(folder / ENGINE)
    components = dataclasses.replace(components, engine=engine)
    return Side(name, stream.idr_id, components, stream.complete_timeout_s)


def _is_by_plate(side: Side, plate: str) -> bool:
    """Return whether a stream makes estimates of plates."""
    nowhere = Path(tempfile.gettempdir(), "idrstream-step-nowhere")  # nothing is written there
    preprocessor = side.components.preprocessor.for_dry_run(nowhere)
    segmentor = side.components.segmentor.for_dry_run(nowhere)
    return preprocessor.needs_plate_model(plate) or segmentor.needs_plate(plate)


def _variants(
    settings: Settings | None, compare: Mapping[str, Sequence[Any]]
) -> list[tuple[str, Settings]]:
    """Return two settings, each with what it has of its own."""
    if settings is None:
        msg = "settings are compared of a stream that was built from settings (from_settings)"
        raise ConfigError(msg)
    if len(compare) != 1:
        raise ConfigError(f"one setting is compared at a time, not {', '.join(compare)}")
    ((name, values),) = compare.items()
    option = all_options().get(name)
    if option is None or option.section in ("stream", "cluster"):
        msg = (
            f"{name} is no setting of a step that can be compared: it is none of the sections "
            "download, preprocess, segment and profile"
        )
        raise ConfigError(msg)
    values = [values] if isinstance(values, str) or not isinstance(values, Sequence) else values
    if len(values) == 1:
        values = (getattr(getattr(settings, option.section), name), *values)
    if len(values) != 2:
        msg = f"two values of {name} are compared, or one with the present one, not {len(values)}"
        raise ConfigError(msg)
    return [(f"{name} = {value}", _with(settings, option.section, name, value)) for value in values]


def _with(settings: Settings, section: str, name: str, value: Any) -> Settings:
    raw = {
        field.name: {
            one.name: getattr(getattr(settings, field.name), one.name)
            for one in dataclasses.fields(getattr(settings, field.name))
        }
        for field in dataclasses.fields(settings)
    }
    raw[section][name] = value
    return layered(raw, {}, {}, "the compared settings")
