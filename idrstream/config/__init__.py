"""Settings of a stream: defaults < TOML file < environment < command line.

Every option of the Python interface is a field of one of the sections below. In a TOML file
it stands in its section (``[stream] batch_size = 10``), in the environment it is
``IDRSTREAM_BATCH_SIZE`` and on the command line ``--batch-size``.
"""

from __future__ import annotations

from idrstream.config.load import ENVIRONMENT_PREFIX, checked, load_settings
from idrstream.config.sections import (
    SECTIONS,
    DownloadSettings,
    PreprocessSettings,
    ProfileSettings,
    SegmentSettings,
    Settings,
    StreamSettings,
    section_of,
)
from idrstream.config.stored import as_json, settings_from_json

__all__ = [
    "ENVIRONMENT_PREFIX",
    "SECTIONS",
    "DownloadSettings",
    "PreprocessSettings",
    "ProfileSettings",
    "SegmentSettings",
    "Settings",
    "StreamSettings",
    "as_json",
    "checked",
    "load_settings",
    "section_of",
    "settings_from_json",
]
