"""Settings of a stream: defaults < TOML file < environment < command line.

Every option of the Python interface is a field of one of the sections below. In a TOML file
it stands in its section (``[stream] batch_size = 10``), in the environment it is
``IDRSTREAM_BATCH_SIZE`` and on the command line ``--batch-size``.
"""

from __future__ import annotations

from idrstream.config.cluster_section import ClusterSettings
from idrstream.config.download_section import DownloadSettings
from idrstream.config.foreign import executed, usable_settings
from idrstream.config.keywords import takes_options
from idrstream.config.load import checked, load_settings
from idrstream.config.model_names import BUILT_IN, SHIPPED
from idrstream.config.options import (
    ENVIRONMENT_PREFIX,
    Option,
    Power,
    Scope,
    described_options,
    options_in,
    parse_distance,
)
from idrstream.config.paths import absolute_path, is_coordinate
from idrstream.config.sections import (
    SECTIONS,
    PreprocessSettings,
    ProfileSettings,
    RunOptions,
    SegmentSettings,
    Settings,
    StreamSettings,
    all_options,
)
from idrstream.config.stored import as_json, settings_from_json

__all__ = [
    "BUILT_IN",
    "ENVIRONMENT_PREFIX",
    "SECTIONS",
    "SHIPPED",
    "ClusterSettings",
    "DownloadSettings",
    "Option",
    "Power",
    "PreprocessSettings",
    "ProfileSettings",
    "RunOptions",
    "Scope",
    "SegmentSettings",
    "Settings",
    "StreamSettings",
    "absolute_path",
    "all_options",
    "as_json",
    "checked",
    "described_options",
    "executed",
    "is_coordinate",
    "load_settings",
    "options_in",
    "parse_distance",
    "settings_from_json",
    "takes_options",
    "usable_settings",
]
