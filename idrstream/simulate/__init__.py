"""A synthetic screen with known truth, as real CellH5: for the demo, tests and benchmarks."""

from idrstream.simulate.movie import SimulatedMovie, Truth, plate_flatfield, simulate_movie
from idrstream.simulate.score import Score, score_locations, score_masks
from idrstream.simulate.screen import load_truth, simulate_screen
from idrstream.simulate.spec import ScreenSpec, SimulatedScreen, tiny_spec

__all__ = [
    "Score",
    "ScreenSpec",
    "SimulatedMovie",
    "SimulatedScreen",
    "Truth",
    "load_truth",
    "plate_flatfield",
    "score_locations",
    "score_masks",
    "simulate_movie",
    "simulate_screen",
    "tiny_spec",
]
