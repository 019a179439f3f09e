"""Cells and profiles as AnnData files; the features of the cells are written in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.collect.cells import Cells
from idrstream.collect.described import describe_features
from idrstream.errors import MissingToolError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_NOT_KEPT = frozenset({"Object_Outline"})  # long texts, which AnnData would hold in memory


def check_anndata() -> None:
    """Raise if anndata is not installed.

    Raises
    ------
    MissingToolError
        Says how to install it.
    """
    try:
        import anndata  # noqa: F401
        import dask.array  # noqa: F401
    except ImportError as error:
        msg = f'anndata cannot be imported ({error}): pip install "idrstream[anndata]"'
        raise MissingToolError(msg) from error


def write_cells_h5ad(cells: Cells, path: Path, channels: Sequence[str] = ()) -> None:
    """Write a dataset of single cells as AnnData.

    ``X`` has the features (float32), ``var`` what their names say (`describe_features`), ``obs``
    all other columns except outlines, ``obsm["spatial"]`` the locations as x, y in pixels. ``obs``
    is held in memory, ``X`` is not.

    Parameters
    ----------
    cells : Cells
        The dataset.
    path : Path
        The file.
    channels : sequence of str
        Names of the channels.
    """
    import anndata as ad
    import numpy as np
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    da, delayed, config = _dask()
    files = cells.files
    dataset = ds.dataset([str(file) for file in files], format="parquet")
    columns = [n for n in dataset.schema.names if n not in {*cells.features, *_NOT_KEPT}]
    obs = _categories(dataset.to_table(columns=columns).to_pandas())
    pieces = []
    for file in files:
        with pq.ParquetFile(file) as opened:
            sizes = [opened.metadata.row_group(at).num_rows for at in range(opened.num_row_groups)]
        pieces += [
            da.from_delayed(
                delayed(_group)(file, at, cells.features),
                (size, len(cells.features)),
                dtype=np.float32,
            )
            for at, size in enumerate(sizes)
            if size
        ]
    x = da.concatenate(pieces) if pieces else np.empty((0, len(cells.features)), np.float32)
    data = ad.AnnData(X=x, obs=obs, var=_categories(describe_features(cells.features, channels)))
    data.obsm["spatial"] = obs[["Location_Center_X", "Location_Center_Y"]].to_numpy()
    with config.set(scheduler="synchronous"):  # one piece in memory at a time
        data.write_h5ad(path)


def write_profiles_h5ad(
    profiles: Path, features: Sequence[str], path: Path, channels: Sequence[str] = ()
) -> None:
    """Write profiles of wells as AnnData, ``obs_names`` as ``<plate>_<well>``, ``var`` as cells."""
    import anndata as ad
    import pandas as pd

    table = pd.read_parquet(profiles)
    names = [name for name in table if name in set(features)]
    obs = table.drop(columns=names)
    obs.index = pd.Index(obs["Metadata_Plate"] + "_" + obs["Metadata_Well"], name=None)
    var = _categories(describe_features(names, channels))
    ad.AnnData(X=table[names].to_numpy(), obs=_categories(obs), var=var).write_h5ad(path)


def _dask() -> tuple[Any, Any, Any]:
    import dask.array
    import dask.config
    from dask.delayed import delayed

    return dask.array, delayed, dask.config


def _group(path: Path, at: int, features: Sequence[str]) -> NDArray[np.float32]:
    import numpy as np
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        table = file.read_row_group(at, columns=list(features))
    return np.column_stack([column.to_numpy() for column in table.columns]).astype(np.float32)


def _categories(obs: pd.DataFrame) -> pd.DataFrame:
    """Return texts as categories, with an index of texts, as AnnData requires."""
    made = obs.copy()
    for name in made:
        if made[name].dtype == object:
            made[name] = made[name].astype("category")
    made.index = made.index.astype(str)
    return made
