"""Pairs of least cost, of which some candidates may stay alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_OFFSET = 1.0  # of every cost: the solver takes no zeros; all matchings have as many entries


def pairs_of_least_cost(
    rows: NDArray[np.intp], columns: NDArray[np.intp], costs: NDArray[np.float64], alone: float
) -> NDArray[np.intp]:
    """Return which candidate pairs are taken, each row and column at most once.

    Parameters
    ----------
    rows, columns : NDArray
        Shape ``(k,)``: the candidate pairs, each once.
    costs : NDArray
        Shape ``(k,)``, not negative.
    alone : float
        Cost of a row, and of a column, that has no partner.

    Returns
    -------
    NDArray
        Positions among the candidates, ascending.

    Notes
    -----
    The linear assignment of Jaqaman et al. 2008, https://doi.org/10.1038/nmeth.1237, on the
    candidates alone: the time grows with their number, not with its square.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if not len(rows):
        return np.zeros(0, np.intp)
    row_of, row = np.unique(rows, return_inverse=True)
    column_of, column = np.unique(columns, return_inverse=True)
    n, m = len(row_of), len(column_of)
    each_row, each_column = np.arange(n), np.arange(m)
    # Above: pairs, and rows that stay alone. Below: columns that do, and room for the rest.
    i = np.concatenate([row, each_row, n + each_column, n + column])
    j = np.concatenate([column, m + each_row, each_column, m + row])
    weights = np.concatenate([costs, np.full(n + m, alone), np.zeros(len(costs))]) + _OFFSET
    matrix = csr_array((weights, (i, j)), shape=(n + m, n + m))
    first, second = min_weight_full_bipartite_matching(matrix)
    partner = np.full(n + m, -1)
    partner[first] = second
    return np.flatnonzero(partner[row] == column)
