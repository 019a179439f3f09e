"""The linear probe: how well a plain classifier tells classes apart from fixed features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ConfigError
from idrstream.quiet import without_warnings

INVERSE_REGULARISATION = 0.01
FOLDS = 5


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the probe said about cells it was not fitted on.

    Attributes
    ----------
    classes : tuple of str
        Classes in the order of the confusion matrix.
    confusion : NDArray
        Shape ``(classes, classes)``, int64: true class by row, guessed class by column.
    macro_f1, weighted_f1 : float
        Mean of the classes' F1, plain and by number of cells, over the classes that occur among
        the cells that were guessed.
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    macro_f1: float
    weighted_f1: float

    def class_f1(self) -> dict[str, float]:
        """Return each class's F1; not a number for one that does not occur."""
        hits = np.diag(self.confusion)
        total = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        occurs = self.confusion.sum(axis=1) > 0
        return {
            name: float(2 * h / t) if o else float("nan")
            for name, h, t, o in zip(self.classes, hits, total, occurs, strict=True)
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain lists and numbers."""
        return {
            "macro_f1": self.macro_f1,
            "weighted_f1": self.weighted_f1,
            "class_f1": {k: None if np.isnan(v) else v for k, v in self.class_f1().items()},
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
        }


def split_probe(
    features: NDArray[Any], classes: Sequence[str], held_out: NDArray[np.bool_]
) -> ProbeResult:
    """Fit the probe on some cells and ask it about the others.

    Features are standardised by the cells it is fitted on; then logistic regression with
    C = 0.01 and balanced classes.

    Parameters
    ----------
    features : NDArray
        Shape ``(n, d)``.
    classes : sequence of str
        Class of each cell.
    held_out : NDArray of bool
        Shape ``(n,)``: cells to be guessed.

    Raises
    ------
    idrstream.errors.ConfigError
        When a side is empty, or the probe would have only one class to learn.
    """
    labels = np.asarray(classes)
    guesses = _guess(features, labels, ~held_out, held_out)
    return _score(labels[held_out], guesses)


def grouped_probe(
    features: NDArray[Any], classes: Sequence[str], groups: Sequence[str], seed: int = 0
) -> ProbeResult:
    """Guess every cell by a probe fitted on other groups: five folds that keep groups whole.

    Parameters
    ----------
    features : NDArray
        Shape ``(n, d)``.
    classes, groups : sequence of str
        Class and group of each cell.
    seed : int
        Of the folds.

    Raises
    ------
    idrstream.errors.ConfigError
        When there are fewer than two groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels = np.asarray(classes)
    n_groups = len(set(groups))
    if n_groups < 2:
        raise ConfigError("all cells are of one group; a probe needs at least two")
    folds = StratifiedGroupKFold(min(FOLDS, n_groups), shuffle=True, random_state=seed)
    guesses = np.empty_like(labels)
    with without_warnings():  # of classes with fewer groups than folds
        for fitted, asked in folds.split(features, labels, groups):
            guesses[asked] = _guess(features, labels, fitted, asked)
    return _score(labels, guesses)


def pooled(results: Sequence[ProbeResult]) -> ProbeResult:
    """Return the score of all guesses of several probes together, each on cells of its own.

    Parameters
    ----------
    results : sequence of ProbeResult
        At least one; their classes may differ.
    """
    names = tuple(sorted({name for result in results for name in result.classes}))
    confusion = np.zeros((len(names), len(names)), np.int64)
    for result in results:
        at = np.array([names.index(name) for name in result.classes])
        confusion[np.ix_(at, at)] += result.confusion
    return _summed_up(names, confusion)


def _guess(
    features: NDArray[Any], labels: NDArray[Any], fitted: NDArray[Any], asked: NDArray[Any]
) -> NDArray[Any]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    known = labels[fitted]
    if len(set(known)) < 2 or not len(labels[asked]):
        raise ConfigError("the probe needs cells of two classes to learn from, and cells to guess")
    scaler = StandardScaler().fit(features[fitted])
    model = LogisticRegression(C=INVERSE_REGULARISATION, class_weight="balanced", max_iter=3000)
    model.fit(scaler.transform(features[fitted]), known)
    guesses: NDArray[Any] = model.predict(scaler.transform(features[asked]))
    return guesses


def _score(true: NDArray[Any], guessed: NDArray[Any]) -> ProbeResult:
    names = tuple(str(name) for name in np.unique(np.concatenate([true, guessed])))
    index = {name: i for i, name in enumerate(names)}
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, ([index[n] for n in true], [index[n] for n in guessed]), 1)
    return _summed_up(names, confusion)


def _summed_up(names: tuple[str, ...], confusion: NDArray[np.int64]) -> ProbeResult:
    scores = np.array(list(ProbeResult(names, confusion, 0.0, 0.0).class_f1().values()))
    present = ~np.isnan(scores)
    values, counts = scores[present], confusion.sum(axis=1)[present]
    return ProbeResult(
        names, confusion, float(values.mean()), float(np.average(values, weights=counts))
    )
