"""Must show 3 and 4: the loop on a linear model is plain gradient descent, and its norms are plain norms."""

from pathlib import Path

import numpy as np
import pytest

from tests.worker_training.running import train

ROWS, FEATURES, STEPS, RATE = 40, 3, 50, 0.05


def _rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(ROWS, FEATURES))
    return x, x @ np.array([1.5, -2.0, 0.25]) + 0.3 + 0.1 * rng.normal(size=ROWS)


def _write(folder: Path, kind: str) -> str:
    x, y = _rows()
    if kind == "npz":
        np.savez(folder / "rows.npz", x=x, y=y)
        return "rows.npz"
    lines = [
        "a,b,c,target",
        *(",".join(repr(float(v)) for v in [*row, value]) for row, value in zip(x, y, strict=True)),
    ]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    return "rows.csv"


def _spec(path: str, **training: object) -> dict[str, object]:
    return {
        "dataset": {"kind": "file", "path": path, "split": {"validation": 0, "test": 0}},
        "network": {"kind": "mlp", "hidden": [], "init": "zeros"},
        "learner": {"kind": "backprop"},
        "optimizer": {"kind": "sgd", "lr": RATE},
        "training": {
            "budget": {"kind": "steps", "value": STEPS},
            "batch_size": "full",
            "precision": "float64",
            **training,
        },
        "diagnostics": {"every_steps": 1, "alignment_every_steps": 1, "budget_percent": None},
    }


def _descend() -> tuple[np.ndarray, float, list[dict[str, float]]]:
    """Gradient descent on the mean squared error, in numpy: weights, bias, and each step's loss and norms."""
    x, y = _rows()
    w, b, steps = np.zeros(FEATURES), 0.0, []
    for _ in range(STEPS):
        error = x @ w + b - y
        gradient = np.append(2 * x.T @ error / ROWS, 2 * error.mean())
        steps.append(
            {
                "loss": float((error**2).mean()),
                "grad_norm": float(np.linalg.norm(gradient)),
                "weight_norm": float(np.linalg.norm(np.append(w, b))),
                "update_norm": RATE * float(np.linalg.norm(gradient)),
            }
        )
        w, b = w - RATE * gradient[:-1], b - RATE * gradient[-1]
    return w, float(b), steps


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_linear_model_equals_numpy_gradient_descent(tmp_path: Path, kind: str) -> None:
    trained = train(_spec(_write(tmp_path, kind)), tmp_path, data_dir=tmp_path)
    w, b, _ = _descend()
    weight, bias = trained.weights["readout.synapse.weight"], trained.weights["readout.synapse.bias"]
    assert np.abs(weight.numpy().reshape(-1) - w).max() <= 1e-10
    assert abs(float(bias) - b) <= 1e-10
    assert np.abs(w).max() > 0.1  # it went somewhere


def test_reported_norms_equal_numpys(tmp_path: Path) -> None:
    trained = train(_spec(_write(tmp_path, "csv")), tmp_path, data_dir=tmp_path)
    _, _, steps = _descend()
    for layer in (None, "readout"):
        for quantity in ("grad_norm", "weight_norm", "update_norm"):
            series = trained.series[quantity, layer, "train"]
            assert list(series) == list(range(1, STEPS + 1))
            for step, value in series.items():
                assert value == pytest.approx(steps[step - 1][quantity], rel=1e-6)
    for step, value in trained.series["loss", None, "train"].items():
        assert value == pytest.approx(steps[step - 1]["loss"], rel=1e-6)


def test_micro_batches_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    path = _write(tmp_path, "npz")
    whole = train(_spec(path), tmp_path, data_dir=tmp_path)
    parts = train(_spec(path, micro_batch_size=7), tmp_path, data_dir=tmp_path)
    difference = whole.weights["readout.synapse.weight"] - parts.weights["readout.synapse.weight"]
    assert float(difference.abs().max()) <= 1e-12
