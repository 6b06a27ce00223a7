"""The control on the menu: a frozen network under a trained read-out."""

from typing import ClassVar, Literal

from specs.papers import JobBody, Paper, ReferenceResult
from specs.rule import Rule


class ReadoutOnlySpec(Rule):
    """The control: only the read-out learns, on features of a random network that stays frozen."""

    title: ClassVar[str] = "Read-out only"
    summary: ClassVar[str] = "A frozen random network under a trained read-out; what a rule must beat to matter."
    paper: ClassVar[Paper] = Paper(
        title="Random Features for Large-Scale Kernel Machines",
        authors="Rahimi, Recht",
        year=2007,
        url="https://papers.nips.cc/paper/2007/hash/013a006f03dbc5392effeb8f18fda755-Abstract.html",
    )
    equation: ClassVar[str] = "g = dL/dtheta for the read-out, no step for all other parameters"
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "biased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "one_block"
    compute_class: ClassVar[str] = "1 forward pass a step, and the read-out's backward pass"
    reference_result: ClassVar[ReferenceResult | None] = ReferenceResult(
        setting="MNIST, 784-1000-10, adam 0.003, batch 100, 20 s on 1 thread",
        metric="test accuracy, median of 3 seeds",
        value=0.9588,
        machine="AMD EPYC, 2 cores, shared",
        command="python -m benchmarks.learners DATA_DIR readout_only",
    )
    example: ClassVar[JobBody] = {
        "name": "readout-only-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [512]},
        "learner": {"kind": "readout_only"},
        "optimizer": {"kind": "adam", "lr": 0.003},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }

    kind: Literal["readout_only"] = "readout_only"

    def follows_error(self) -> bool:
        """It trains the network's read-out, which a segment below an error does not have."""
        return False
