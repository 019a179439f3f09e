"""Synthetic screens with known truth, in real files: for the demo, tests and benchmarks."""

from idrstream.simulate.movie import SimulatedMovie, Truth, plate_flatfield, simulate_movie
from idrstream.simulate.painting import SimulatedField, simulate_field
from idrstream.simulate.painting_screen import load_field_truth, simulate_painting
from idrstream.simulate.painting_spec import (
    CHANNELS,
    PaintingSpec,
    Treatment,
    tiny_painting,
    treatment_of,
)
from idrstream.simulate.score import Score, score_locations, score_masks
from idrstream.simulate.screen import load_truth, simulate_screen
from idrstream.simulate.spec import ScreenSpec, SimulatedScreen, tiny_spec
from idrstream.simulate.track_score import TrackScore, score_tracks

__all__ = [
    "CHANNELS",
    "PaintingSpec",
    "Score",
    "ScreenSpec",
    "SimulatedField",
    "SimulatedMovie",
    "SimulatedScreen",
    "TrackScore",
    "Treatment",
    "Truth",
    "load_field_truth",
    "load_truth",
    "plate_flatfield",
    "score_locations",
    "score_masks",
    "score_tracks",
    "simulate_field",
    "simulate_movie",
    "simulate_painting",
    "simulate_screen",
    "tiny_painting",
    "tiny_spec",
    "treatment_of",
]
