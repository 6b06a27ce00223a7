"""An uploaded file is trained on like any other data: over HTTP alone, by the command too."""

import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.datasets import load_iris

from afterprop.client import Client
from afterprop.errors import ProblemError

pytestmark = pytest.mark.service


def test_uploaded_table_is_trained_on_and_deleted(client: Client, service_url: str, tmp_path: Path) -> None:
    iris = load_iris()
    rows = [",".join(map(str, [*x, f"kind {y}"])) for x, y in zip(iris.data, iris.target, strict=True)]
    file = tmp_path / "iris.csv"
    file.write_text("\n".join(["a,b,c,d,kind", *rows]))
    command = [sys.executable, "-m", "afterprop.cli", "datasets", "upload", str(file)]
    uploaded = subprocess.run(command, env={"AFTERPROP_URL": service_url}, capture_output=True, text=True, check=True)
    dataset = client.datasets.retrieve(uploaded.stdout.strip())
    assert (dataset["rows"], dataset["name"]) == (150, "iris.csv")
    job = client.jobs.create(
        {
            "dataset": {**dataset["example"], "normalize": "standard"},
            "network": {"kind": "mlp", "hidden": [16]},
            "learner": {"kind": "backprop"},
            "optimizer": {"kind": "adam", "lr": 0.02},
            "training": {"epochs": 30, "batch_size": 16},
        }
    )
    ended = client.jobs.wait(job["id"])
    assert ended["status"] == "succeeded", ended["error"]
    assert ended["result"]["metrics"]["test"]["accuracy"] > 0.85
    client.datasets.delete(dataset["id"])
    with pytest.raises(ProblemError):
        client.datasets.retrieve(dataset["id"])
