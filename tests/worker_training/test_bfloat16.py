"""Forward-mode differentiation in bfloat16: values and tangents meet in one type, norms and dropout between them."""

from pathlib import Path

import pytest

from tests.worker_training.running import job, train


@pytest.mark.parametrize("network", ["mlp", "mlp batch dropout"])
def test_forward_gradient_trains_in_bfloat16(network: str, tmp_path: Path) -> None:
    fields = job("forward_gradient", network)
    fields["training"] = {**fields.get("training", {}), "precision": "bfloat16"}
    assert train(fields, tmp_path).result.weights_sha256
