"""The shipped network in Cellpose's own hands: its ``CellposeModel`` with its own ``eval``."""

from __future__ import annotations

from typing import Any

import numpy as np


def load_own() -> tuple[Any, Any]:
    """Load the shipped weights anew into a plain ``CellposeModel``, with the size estimator."""
    import torch
    from cellpose.models import CellposeModel

    from idrstream import models
    from idrstream.segment import shipped

    class Own(CellposeModel):
        """Cellpose's model; only the intensities are scaled as the shipped weights want them."""

        def eval(self, x: Any, **options: Any) -> Any:
            percentiles = list(shipped.intensity_percentiles(x))
            options.setdefault("normalize", {"percentile": percentiles})
            return super().eval(x, **options)

    with np.load(models.nuclei_model_path(), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != "format_version"}
    widths = [int(width) for width in arrays.pop("widths")]
    state = {name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()}
    model = Own(gpu=False, pretrained_model=False, diam_mean=float(state["diam_mean"][0]))
    network = shipped.build_network(widths, float(state["diam_mean"][0]))
    network.load_state_dict(state, strict=False)
    network.mkldnn = model.mkldnn
    model.net = network.eval()
    return model, shipped.load_size_estimator(models.nuclei_size_model_path())
