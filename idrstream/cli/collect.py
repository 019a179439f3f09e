"""``idrstream collect DIR``."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from typing import get_args

from idrstream.cli.options import as_folder
from idrstream.cli.terminal import say
from idrstream.collect.options import (
    SELECTIONS,
    Aggregation,
    CollectOptions,
    Normalization,
    Reference,
    Tables,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder and the options."""
    default = CollectOptions()
    parser.usage = "%(prog)s DIR [options]"
    parser.add_argument("folder", type=as_folder, metavar="DIR", help="output folder of a stream")
    parser.add_argument(
        "--out", type=as_folder, metavar="FOLDER", help="where the results go [DIR_collected]"
    )
    parser.add_argument(
        "--partial", action="store_true", help="collect although batches are missing"
    )
    parser.add_argument("--replace", action="store_true", help="replace an earlier collection")
    parser.add_argument("--anndata", action="store_true", help="also write AnnData (.h5ad)")
    parser.add_argument(
        "--aggregate", choices=get_args(Aggregation), default=default.aggregate,
        help="how to aggregate the cells of a well [%(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--control-column", default=default.control_column, metavar="COLUMN",
        help="column of the table that marks control wells [%(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--negative-control", action="append", metavar="VALUE", dest="negative_controls",
        help="its value for negative controls; may be given more than once "
        f"[{', '.join(default.negative_controls)}]",
    )  # fmt: skip
    parser.add_argument(
        "--normalize", choices=get_args(Normalization), default=default.normalize,
        help="pycytominer's method, against the negative controls [%(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--normalize-by", choices=get_args(Reference), default=default.normalize_by,
        help="negative controls to compare a plate with: its own, or all [%(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--feature-select", metavar="OPERATIONS",
        help=f"comma-separated, of {', '.join(SELECTIONS)}; or none "
        f"[{','.join(default.selections)}; none with --normalize none]",
    )  # fmt: skip
    parser.add_argument(
        "--correlation-threshold", type=float, default=default.correlation_threshold, metavar="R",
        help="drop one of two features that correlate more [%(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--minutes-per-frame", type=float, default=default.minutes_per_frame, metavar="MIN",
        help="time between the frames of a movie, for rates of tracks [%(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--tables", choices=get_args(Tables), default=default.tables,
        help="the cells as one dataset, or one for each engine with the same rows [%(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--rows-at-once", type=int, default=default.rows_at_once, metavar="N",
        help="about how many nuclei to hold in memory [%(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="write the record of the collection as JSON"
    )


def handle(namespace: argparse.Namespace) -> int:
    """Collect the folder and summarise the result."""
    from idrstream.collect import collect_folder
    from idrstream.run.log import errors_logged

    with errors_logged():
        done = collect_folder(
            namespace.folder, namespace.out, _options(namespace), replace=namespace.replace
        )
    say(f"{json.dumps(done.record, indent=1) if namespace.json else done}\n")
    return 0


def _options(namespace: argparse.Namespace) -> CollectOptions:
    given = vars(namespace)
    values = {item.name: given[item.name] for item in fields(CollectOptions)}
    if namespace.feature_select is not None:
        wanted = [part.strip() for part in namespace.feature_select.split(",") if part.strip()]
        values["feature_select"] = () if wanted == ["none"] else tuple(wanted)
    if namespace.negative_controls is None:
        del values["negative_controls"]
    else:
        values["negative_controls"] = tuple(namespace.negative_controls)
    return CollectOptions(**values)
