"""Batch tables read back as they were written, in both formats alike."""

import numpy as np
import pandas as pd
import pytest

from idrstream.compile import WRITERS, read_batch_table
from idrstream.compile.readers import rows_and_names

ODD = ["0007", "NA", "1e5", "true", "", "1.0", "2020-01-01", "a\nb", '"q", x', " x ", "NaN", "-0"]


@pytest.mark.parametrize("rows", [0, len(ODD)])
@pytest.mark.parametrize("form", sorted(WRITERS))
def test_every_column_keeps_its_type(tmp_path, form, rows):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "Object_Outline": ["[" + "[1, 2], " * 40_000 + "]"] * len(ODD),
            "Location_Center_X": rng.uniform(0, 1344, len(ODD)),
            "Location_Center_Y": np.arange(float(len(ODD))),
            **{f"Metadata_{name}": ODD for name in ("Plate", "Well", "Site", "Note")},
        }
    )[:rows]
    table["Metadata_ObjectNumber"] = np.arange(rows)
    table["Metadata_Nuclei_TouchesBorder"] = np.arange(rows) % 2
    features = rng.normal(size=(rows, 5)).astype(np.float32)
    table[[f"efficientnet_{at}" for at in range(5)]] = features
    path = tmp_path / f"batch_0.{form}"
    WRITERS[form](table, path)
    found = read_batch_table(path)
    pd.testing.assert_frame_equal(found, table, check_dtype=bool(rows))
    assert found["efficientnet_0"].dtype == np.float32
    assert found["Location_Center_Y"].dtype == np.float64
    assert rows_and_names(path) == (rows, list(table.columns))


def test_a_users_column_of_text_is_none_of_numbers(tmp_path):
    """As a folder may have that was begun before tables had numbers of objects."""
    table = pd.DataFrame({"Metadata_ObjectNumber": ["07", "b"], "efficientnet_0": [1.0, 2.0]})
    WRITERS["csv.gz"](table, tmp_path / "batch_0.csv.gz")
    found = read_batch_table(tmp_path / "batch_0.csv.gz")
    assert found["Metadata_ObjectNumber"].tolist() == ["07", "b"]
