"""The suite's own data: rows whose scale, offset and outliers are those of careless measurement."""

from pathlib import Path

import numpy as np

ROWS, FEATURES, CLASSES = 900, 12, 4
SHARE_OF_OUTLIERS = 0.01


def write(folder: Path) -> None:
    """``rows.npz`` and its spoilt copies."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(7)
    centres = generator.normal(size=(CLASSES, FEATURES)) * 1.5
    y = generator.integers(CLASSES, size=ROWS)
    x = centres[y] + generator.normal(size=(ROWS, FEATURES))
    outliers = x.copy()
    outliers[generator.random(ROWS) < SHARE_OF_OUTLIERS] *= 50
    constant = x.copy()
    constant[:, :3] = 2e4
    written = {
        "rows": (x, y),
        "large": (1000 * x, y),
        "offset": (x + 400, y),
        "tiny": (1e-4 * x, y),
        "constant": (constant, y),
        "outliers": (outliers, y),
        "guesses": (x, generator.permutation(y)),
    }
    for name, (features, labels) in written.items():
        np.savez(folder / f"{name}.npz", x=features.astype(np.float32), y=labels.astype(np.int64))
