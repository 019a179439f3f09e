"""``idrstream plan``: what a stream would do, and whether it could start."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.cli.options import add_setting_options, as_path, given_options
from idrstream.cli.parser import Parser
from idrstream.cli.terminal import say
from idrstream.config import load_settings

if TYPE_CHECKING:
    from idrstream.config import Settings
    from idrstream.forecast.plan import StreamPlan


def add_arguments(parser: Parser) -> None:
    """Add the configuration file, the probe, and one option per setting."""
    parser.add_argument("config", type=as_path, metavar="CONFIG.toml", help="its settings")
    parser.add_argument(
        "--probe", type=int, default=0, metavar="K",
        help="run K images, in a temporary folder, and estimate the time of all",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="write JSON")
    add_setting_options(parser)


def handle(namespace: argparse.Namespace) -> int:
    """Write the plan; 1 when a check failed."""
    settings = load_settings(namespace.config, options=given_options(namespace))
    plan = plan_settings(settings, probe=max(0, namespace.probe))
    text = json.dumps(plan.as_json(), indent=1) if namespace.json else repr(plan)
    say(f"{text}\n")
    return 0 if plan.is_good else 1


def plan_settings(settings: Settings, *, probe: int = 0) -> StreamPlan:
    """Return the plan of a stream from its settings, without making its folders.

    Parameters
    ----------
    settings : Settings
        Checked settings.
    probe : int
        Images to run to measure the time.
    """
    from idrstream.config import RunOptions, as_json
    from idrstream.errors import IdrStreamError
    from idrstream.forecast.checks import check_lock, check_writable, failed
    from idrstream.forecast.make import make_plan
    from idrstream.forecast.plan import StreamPlan
    from idrstream.preprocess import make_preprocessor
    from idrstream.screen import read_table
    from idrstream.stream.build import build_stream, run_options
    from idrstream.stream.parts import refuse_one_folder
    from idrstream.stream.stream import IdrStream

    where = settings.stream
    with tempfile.TemporaryDirectory(prefix="idrstream-plan-") as name:
        # Building a stream makes its folders: others than the user's.
        elsewhere = dataclasses.replace(
            where, tmp_dir=Path(name) / "tmp", final_data_dir=Path(name) / "out", log=None
        )
        try:
            table = read_table(where.table)
            refuse_one_folder(where.tmp_dir, where.final_data_dir)
            stream = build_stream(IdrStream, dataclasses.replace(settings, stream=elsewhere))
        except IdrStreamError as error:
            folders = ((where.final_data_dir, "final_data_dir"), (where.tmp_dir, "tmp_dir"))
            checks = [failed("settings and parts", error)]
            for folder, role in folders:
                checks += [check_writable(folder, role), check_lock(folder, role)]
            return StreamPlan(folder=str(where.final_data_dir), checks=tuple(checks))
        with closing(stream):
            # Models of plates that exist are used.
            stream.preprocessor = make_preprocessor(
                settings.preprocess, where.final_data_dir / "illumination"
            )
            paths = dataclasses.replace(
                stream.paths(), folder=where.final_data_dir, tmp_dir=where.tmp_dir, log=None,
                settings=as_json(settings),
            )  # fmt: skip
            return make_plan(
                paths, stream.components(), RunOptions(**run_options(where)), table, probe=probe
            )
