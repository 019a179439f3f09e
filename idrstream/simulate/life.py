"""How nuclei live: they wander, push each other aside, grow, divide and die."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from idrstream.simulate.shapes import STYLES, Look, new_look
from idrstream.simulate.spec import NEGATIVE, gene_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from idrstream.simulate.spec import ScreenSpec

# Half an hour a frame: a phase of mitosis lasts about one frame.
_NEXT = {
    "prophase": "prometaphase",
    "prometaphase": "metaphase",
    "anaphase": "telophase",
    "telophase": "interphase",
}
_GROWTH_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Phenotype:
    """How the cells of a well live.

    Attributes
    ----------
    start : dict
        Share of each phase in the first frame; the rest is interphase.
    divide : float
        Chance of an interphase nucleus to enter mitosis, each frame.
    arrest : float
        Chance to stay in prometaphase for another frame.
    die : float
        Chance of apoptosis, each frame.
    fail : float
        Chance that a division fails and leaves one polylobed nucleus.
    density : float
        Factor on the number of nuclei.
    """

    start: dict[str, float]
    divide: float = 0.025
    arrest: float = 0.1
    die: float = 0.002
    fail: float = 0.0
    density: float = 1.0


_MITOSIS = {"prophase": 0.02, "prometaphase": 0.02, "metaphase": 0.02, "anaphase": 0.01}
PHENOTYPES: dict[str, Phenotype] = {
    NEGATIVE: Phenotype({**_MITOSIS, "telophase": 0.01, "apoptotic": 0.01}),
    "ENSG00000149503": Phenotype(
        {**_MITOSIS, "polylobed": 0.45, "apoptotic": 0.02}, fail=0.9, density=0.7
    ),
    "COPB": Phenotype({"prophase": 0.01, "apoptotic": 0.3}, divide=0.004, die=0.04, density=0.55),
    "KIF11": Phenotype(
        {"prophase": 0.04, "prometaphase": 0.4, "apoptotic": 0.04}, arrest=0.97, density=0.85
    ),
}


@dataclass(slots=True)
class Cell:
    """A nucleus at one time.

    Attributes
    ----------
    track, parent : int
        Number of its track, and of the track it was born from; 0 for none.
    y, x : float
        Centre in pixels; may be outside the frame.
    angle : float
        Direction of the long axis, radians.
    phase : str
        One of `idrstream.simulate.shapes.PHASES`.
    age : int
        Frames since the phase began.
    look : Look
        Its shape and texture.
    growth : float
        Size as a fraction of the full-grown radius.
    """

    track: int
    parent: int
    y: float
    x: float
    angle: float
    phase: str
    age: int
    look: Look
    growth: float = 1.0

    @property
    def reach_px(self) -> float:
        """Radius that neighbours keep free."""
        free = self.look.radius_px * self.growth * STYLES[self.phase].reach
        stretch = self.look.elongation**0.5 if self.phase == "interphase" else 1.0
        return free * 0.5 * (1 + stretch)


class Colony:
    """The nuclei of one field of view through time.

    The field has a margin around the frame, so that nuclei lie on the border, come in and
    go out.

    Parameters
    ----------
    spec : ScreenSpec
        Number and size of nuclei.
    shape : tuple of int
        ``(y, x)`` of a frame.
    well : str
        Well name; its target decides how the cells behave.
    rng : numpy.random.Generator
        Source of chance.
    """

    def __init__(
        self, spec: ScreenSpec, shape: tuple[int, int], well: str, rng: np.random.Generator
    ) -> None:
        self._spec, self._shape, self._rng = spec, shape, rng
        self._margin = 1.5 * spec.diameter_px
        self._how = PHENOTYPES[gene_target(well)]
        self._last_track = 0
        self._pace = spec.motion
        self.cells: list[Cell] = []
        area = (shape[0] + 2 * self._margin) * (shape[1] + 2 * self._margin)
        per_px = spec.nuclei_per_frame / (spec.height * spec.width)
        count = 0 if well in spec.empty_wells else round(per_px * area * self._how.density)
        self._settle(count)

    def step(self) -> None:
        """Let half an hour pass, or about that."""
        if self._spec.uneven_times:
            elapsed = float(np.exp(self._rng.normal(0, self._spec.uneven_times)))
            self._pace = self._spec.motion * elapsed**0.5
        following: list[Cell] = []
        for cell in self.cells:
            following.extend(self._live(cell))
        self.cells = following
        self._push_apart(rounds=4)

    def _settle(self, count: int) -> None:
        """Put the first nuclei down, many of them beside another: cells grow in colonies."""
        phases = [*self._how.start, "interphase"]
        shares = list(self._how.start.values())
        shares.append(1.0 - sum(shares))
        while len(self.cells) < count:
            y, x = self._free_place()
            cell = self._new_cell(y, x, str(self._rng.choice(phases, p=shares)))
            self.cells.extend(
                self._split(cell) if cell.phase in ("anaphase", "telophase") else [cell]
            )
        self._push_apart(rounds=25)

    def _free_place(self) -> tuple[float, float]:
        rng, margin = self._rng, self._margin
        if self.cells and rng.random() < 0.4:
            near = self.cells[int(rng.integers(len(self.cells)))]
            turn, far = rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 1.8) * self._spec.diameter_px
            return near.y + far * np.sin(turn), near.x + far * np.cos(turn)
        return (
            float(rng.uniform(-margin, self._shape[0] + margin)),
            float(rng.uniform(-margin, self._shape[1] + margin)),
        )

    def _new_cell(self, y: float, x: float, phase: str) -> Cell:
        rng = self._rng
        self._last_track += 1
        return Cell(
            track=self._last_track,
            parent=0,
            y=y,
            x=x,
            angle=float(rng.uniform(0, np.pi)),
            phase=phase,
            age=int(rng.integers(0, 2 * _GROWTH_FRAMES)),
            look=new_look(rng, self._spec.diameter_px, self._spec.brightness),
            growth=float(rng.uniform(0.85, 1.08)),
        )

    def _live(self, cell: Cell) -> list[Cell]:
        rng = self._rng
        mitotic = cell.phase not in ("interphase", "polylobed")
        pace = (0.03 if mitotic else 0.09) * self._spec.diameter_px * self._pace
        cell = replace(
            cell,
            y=self._inside(cell.y + rng.normal(0, pace), self._shape[0]),
            x=self._inside(cell.x + rng.normal(0, pace), self._shape[1]),
            angle=cell.angle + float(rng.normal(0, 0.03 if mitotic else 0.12)),
            age=cell.age + 1,
        )
        chance = rng.random()
        if cell.phase == "metaphase":
            failed = rng.random() < self._how.fail
            return [replace(cell, phase="polylobed", age=0)] if failed else self._split(cell)
        if cell.phase == "prometaphase" and chance < self._how.arrest:
            return [cell]
        if cell.phase in _NEXT:
            return [self._advance(cell)]
        if cell.phase == "apoptotic":
            return [cell] if chance < 0.8 else []  # debris floats away
        if chance < self._how.die:
            return [replace(cell, phase="apoptotic", age=0)]
        if cell.phase == "interphase":
            if cell.age > _GROWTH_FRAMES // 2 and chance > 1.0 - self._how.divide:
                return [replace(cell, phase="prophase", age=0)]
            return [replace(cell, growth=cell.growth + 0.25 * (1.0 - cell.growth))]
        return [cell]

    def _advance(self, cell: Cell) -> Cell:
        following = _NEXT[cell.phase]
        if cell.phase == "anaphase":  # the sisters continue to move apart
            away = 0.55 * cell.look.radius_px
            cell.y += away * float(np.cos(cell.angle))
            cell.x -= away * float(np.sin(cell.angle))
        growth = 0.74 if following == "interphase" else cell.growth
        return replace(cell, phase=following, age=0, growth=growth)

    def _split(self, cell: Cell) -> list[Cell]:
        """Return the two daughter plates of a dividing nucleus."""
        phase = cell.phase if cell.phase == "telophase" else "anaphase"
        apart = (1.0 if phase == "telophase" else 0.5) * cell.look.radius_px
        daughters = []
        for side in (1.0, -1.0):
            self._last_track += 1
            daughters.append(
                replace(
                    cell,
                    track=self._last_track,
                    parent=cell.track,
                    y=cell.y + side * apart * float(np.cos(cell.angle)),
                    x=cell.x - side * apart * float(np.sin(cell.angle)),
                    angle=cell.angle + (0.0 if side > 0 else float(np.pi)),
                    phase=phase,
                    age=0,
                    look=self._inherit(cell.look),
                )
            )
        return daughters

    def _inherit(self, look: Look) -> Look:
        fresh = new_look(self._rng, self._spec.diameter_px, self._spec.brightness)
        return replace(fresh, brightness=look.brightness, radius_px=look.radius_px)

    def _inside(self, value: float, size: int) -> float:
        low, high = -self._margin, size + self._margin
        return float(np.clip(value, low, high))

    def _push_apart(self, *, rounds: int) -> None:
        """Move nuclei that are too close apart, along the line between them."""
        if len(self.cells) < 2:
            return
        where = np.array([(cell.y, cell.x) for cell in self.cells])
        reach = np.array([cell.reach_px for cell in self.cells])
        for _ in range(rounds):
            if not _push_once(where, reach):
                break
        for cell, (y, x) in zip(self.cells, where, strict=True):
            cell.y, cell.x = float(y), float(x)


def _push_once(where: NDArray[np.float64], reach: NDArray[np.float64]) -> bool:
    """Resolve half of every overlap in place; return whether there was one."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(where).query_pairs(2 * float(reach.max()), output_type="ndarray")
    if not len(pairs):
        return False
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    one, two = pairs[:, 0], pairs[:, 1]
    apart = where[two] - where[one]
    far = np.maximum(np.hypot(apart[:, 0], apart[:, 1]), 1e-6)
    overlap = 1.02 * (reach[one] + reach[two]) - far
    close = overlap > 0.05
    if not close.any():
        return False
    push = (apart / far[:, None] * (0.5 * overlap)[:, None])[close]
    np.add.at(where, one[close], -push)
    np.add.at(where, two[close], push)
    return True
