"""What each layer is worth: its weights replaced by matched random ones, and the network evaluated again.

After arXiv 2606.21126: accuracy and alignment may look well while a layer adds nothing to what random weights do.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from learners.networks.block import Block
from learners.streams import Streams
from worker.batches import Rows
from worker.evaluation import evaluate
from worker.precision import autocast_for
from worker.probes.probe import Probe, Trained


class DepthUtility(Probe):
    """By stage of the network: how much its metrics lose, as a mean over some draws. The rest is left as it is."""

    def measure(self, trained: Trained, other: Trained | None) -> dict[str, Any]:
        del other
        split, rows = ("validation", trained.validation) if len(trained.validation) else ("train", trained.train)
        rows = rows.slice(0, self.spec.rows)
        before = _metrics(trained, rows)
        network = trained.training.network
        layers = {
            name: self._of_layer(trained, name, stage, rows, before)
            for name, stage in zip(network.names, network.stages, strict=True)
        }
        return {"split": split, "rows": len(rows), "draws": self.spec.draws, "metrics": before, "layers": layers}

    def _of_layer(
        self, trained: Trained, name: str, stage: Block, rows: Rows, before: dict[str, float]
    ) -> dict[str, Any]:
        """Metrics with random weights, and the change for the worse: more loss or error, less accuracy."""
        found = []
        for draw in range(self.spec.draws):
            with replaced(stage, Streams(self.spec.seed).child(name), draw):
                found.append(_metrics(trained, rows))
        random = {metric: math.fsum(each[metric] for each in found) / len(found) for metric in before}
        utility = {
            metric: value - random[metric] if metric == "accuracy" else random[metric] - value
            for metric, value in before.items()
        }
        return {"random": random, "utility": utility}


@contextmanager
def replaced(stage: Block, streams: Streams, draw: int) -> Iterator[None]:
    """Inside, every parameter of the stage holds normal numbers of its own mean and standard deviation."""
    parameters = dict(stage.named_parameters())
    kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    try:
        with torch.no_grad():
            for name, parameter in parameters.items():
                noise = torch.randn(parameter.shape, generator=streams.generator(name, draw), dtype=torch.float64)
                deviation = parameter.double().std(correction=0)
                parameter.copy_(parameter.double().mean() + deviation * noise)
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(kept[name])


def _metrics(trained: Trained, rows: Rows) -> dict[str, float]:
    plain = autocast_for("float32", torch.device("cpu"))
    return evaluate(trained.training, rows, autocast=plain, between_chunks=lambda: None)
