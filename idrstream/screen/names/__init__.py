"""What the names of files say of the images in them: any lab's folder of TIFFs as plates."""

from idrstream.screen.names.found import NamedFiles, plates_of_names
from idrstream.screen.names.pattern import NamePattern, name_pattern
from idrstream.screen.names.presets import PRESETS, Preset, preset_of

__all__ = [
    "PRESETS",
    "NamePattern",
    "NamedFiles",
    "Preset",
    "name_pattern",
    "plates_of_names",
    "preset_of",
]
