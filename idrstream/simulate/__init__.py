"""A synthetic screen with known truth, as real CellH5: for the demo, tests and benchmarks."""

from idrstream.simulate.movie import SimulatedMovie, Truth, simulate_movie
from idrstream.simulate.spec import ScreenSpec, SimulatedScreen, tiny_spec

__all__ = [
    "ScreenSpec",
    "SimulatedMovie",
    "SimulatedScreen",
    "Truth",
    "simulate_movie",
    "tiny_spec",
]
