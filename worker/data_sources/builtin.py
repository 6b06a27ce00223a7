"""The small classics, from the files that scikit-learn installs."""

from typing import Any

import numpy as np

from specs.data_sources import BuiltinSpec
from worker.data_sources.source import DataSource, Folders, Table


class Builtin(DataSource):
    """Digits (Alpaydin & Kaynak 1998), iris (Fisher 1936), wine, breast_cancer, diabetes (Efron et al. 2004)."""

    def __init__(self, spec: BuiltinSpec) -> None:
        self.spec = spec

    def load(self, folders: Folders) -> Table:  # noqa: ARG002 - needs no folder
        x, y = _arrays(self.spec.name)
        if self.spec.name == "digits":
            x = x.reshape(-1, 1, 8, 8)
        if self.spec.name == "diabetes":
            return Table(x=x, y=y.reshape(-1, 1), implied_task="regression")
        return Table(x=x, y=y.astype(np.int64), implied_task="classification")


def _arrays(name: str) -> tuple[Any, Any]:
    from sklearn import datasets

    load = getattr(datasets, f"load_{name}")
    x, y = load(return_X_y=True)
    return x, y
