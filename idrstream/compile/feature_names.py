"""What the name of a feature says: object, family, channels; and which features weigh how much.

Names are CellProfiler's, ``<Object>_<Category>_<Feature>_<Channel>``, for example
``Cells_Texture_Contrast_ER_3_00_256``; features of networks are ``Nuclei_efficientnet_12``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from idrstream.records import OBJECT_KINDS

CLASSICAL = "classical"
"""Block of the features that CellProfiler's categories have."""
POSITIONS = "Location"
"""Family of positions in the image."""
_SHAPES = frozenset({"AreaShape", "Neighbors", "Children", "Parent", "Number"})
_MEASURED = frozenset(
    {"Correlation", "Granularity", "Intensity", POSITIONS, "RadialDistribution", "Texture"}
)


@dataclass(frozen=True, slots=True)
class FeatureName:
    """What the name of a feature says.

    Attributes
    ----------
    name : str
        The column.
    object : str
        Kind of the objects; ``Nuclei`` if the name does not say.
    family : str
        CellProfiler's category, such as ``Texture``, or the name of a network or engine.
    channels : tuple of str
        Channels that it was measured in: none of shapes and networks, two of correlations.
    """

    name: str
    object: str
    family: str
    channels: tuple[str, ...] = ()

    @property
    def channel(self) -> str:
        """The channels as one text, ``DNA|ER``; empty if none is said."""
        return "|".join(self.channels)

    @property
    def block(self) -> str:
        """``classical`` for CellProfiler's categories, else the family."""
        return CLASSICAL if self.family in _SHAPES | _MEASURED else self.family


def parse_features(names: Iterable[str], channels: Sequence[str] = ()) -> list[FeatureName]:
    """Return what the names of features say.

    Parameters
    ----------
    names : iterable of str
        Names of the columns.
    channels : sequence of str
        Names of the channels. Without them they are what intensities end in:
        ``Cells_Intensity_MeanIntensity_ER`` says that there is a channel ER.
    """
    split = [(name, *_object_and_family(name)) for name in names]
    known = set(channels) or {
        rest.partition("_")[2] for _, _, family, rest in split if family == "Intensity"
    }
    longest = sorted(known - {""}, key=len, reverse=True)
    return [
        FeatureName(name, kind, family, _channels(family, rest, longest))
        for name, kind, family, rest in split
    ]


def block_weights(features: Sequence[FeatureName]) -> list[float]:
    """Return a factor for each feature that makes all blocks weigh the same.

    Multiplied with normalised features, the squares of the distances between profiles are sums to
    which each block contributes alike, whatever its number of features: ``sqrt(n / (k * m))`` for
    `n` features in `k` blocks, of which `m` are in the feature's own.

    Parameters
    ----------
    features : sequence of FeatureName
        The features that distances are computed of.
    """
    sizes = Counter(feature.block for feature in features)
    return [math.sqrt(len(features) / len(sizes) / sizes[feature.block]) for feature in features]


def _object_and_family(name: str) -> tuple[str, str, str]:
    """Return object, family and rest of a name."""
    first, _, rest = name.partition("_")
    kind, rest = (first, rest) if first in OBJECT_KINDS else (OBJECT_KINDS[0], name)
    family, _, rest = rest.partition("_")
    return kind, family, rest


def _channels(family: str, rest: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the channels that the end of a name has, in its order; `known` are longest first."""
    if family in _SHAPES:
        return ()
    # The first word is what was measured: the 1 of Granularity_1_DNA is no channel called 1.
    text = f"_{rest.partition('_')[2]}_" if family in _MEASURED else f"_{rest}_"
    found: list[str] = []
    while text:
        places = [(text.find(f"_{name}_"), -len(name), name) for name in known]
        at, _, name = min((place for place in places if place[0] >= 0), default=(-1, 0, ""))
        if at < 0 or (found and family != "Correlation"):
            break
        found.append(name)
        text = text[at + len(name) + 1 :]
    return tuple(found)
