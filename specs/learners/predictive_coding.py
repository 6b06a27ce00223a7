"""Predictive coding on the menu."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from specs.papers import Equivalence, JobBody, Paper, ReferenceResult
from specs.rule import Rule

InferenceMode = Literal["strict", "fixed_prediction", "zero_divergence", "error_based"]


class PredictiveCodingSpec(Rule):
    """Values of all blocks settle into the least prediction error; each block then learns from its own error."""

    title: ClassVar[str] = "Predictive coding"
    summary: ClassVar[str] = "Hidden values settle between what is predicted below and wanted above; errors are local."
    paper: ClassVar[Paper] = Paper(
        title="An Approximation of the Error Backpropagation Algorithm in a Predictive Coding Network with Local "
        "Hebbian Synaptic Plasticity",
        authors="Whittington, Bogacz",
        year=2017,
        url="https://doi.org/10.1162/NECO_a_00949",
    )
    equation: ClassVar[str] = (
        "E = sum_l |v_l - f_l(v_(l-1))|^2 / 2 + lambda L(f_L(v_(L-1)), y); v <- v - gamma dE/dv; g_l = dE/dtheta_l"
    )
    hands_error: ClassVar[bool] = True
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "biased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "all_activations"
    quantities: ClassVar[dict[str, str]] = {
        "inference_energy_before": "",
        "inference_energy": "",
        "inference_last_drop": "ratio",
        "prediction_error": "",
        "settling_residual": "",
    }
    compute_class: ClassVar[str] = (
        "1 forward pass, then a forward and a backward pass above the first block for each inference step; "
        "zero_divergence costs 1 backprop step"
    )
    reference_result: ClassVar[ReferenceResult | None] = ReferenceResult(
        setting="MNIST, 784-256-256-10, adam 0.001, batch 100, 60 s on 1 thread",
        metric="test accuracy, median of 3 seeds",
        value=0.9684,
        machine="AMD EPYC, 2 cores, shared",
        command="python -m benchmarks.learners DATA_DIR predictive_coding",
    )
    example: ClassVar[JobBody] = {
        "name": "predictive-coding-digits",
        "dataset": {"kind": "builtin", "name": "digits"},
        "network": {"kind": "mlp", "hidden": [128, 128]},
        "learner": {"kind": "predictive_coding"},
        "optimizer": {"kind": "adam", "lr": 0.001},
        "training": {"epochs": 20, "batch_size": 64, "seed": 0},
    }
    variants: ClassVar[tuple[JobBody, ...]] = (
        {"mode": "fixed_prediction"},
        {"mode": "zero_divergence"},
        {"mode": "error_based"},
    )
    equivalent_to: ClassVar[tuple[Equivalence, ...]] = (
        Equivalence(
            settings={"mode": "fixed_prediction"},
            to="backprop",
            because="with slopes of the forward pass each step hands the exact error one block down",
        ),
        Equivalence(
            settings={"mode": "zero_divergence"},
            to="backprop",
            because="each block learns while its own input is still that of the forward pass",
        ),
        Equivalence(
            settings={"mode": "error_based", "inference_steps": 0},
            to="backprop",
            because="errors of zero leave the network's own loss",
        ),
    )
    claims_that_do_not_hold: ClassVar[tuple[str, ...]] = (
        "It is cheaper or faster than backprop: on a digital machine each inference step is a pass through the "
        "network (Goemaere et al. 2025, arXiv 2505.20137).",
        "It scales with depth: in strict inference the signal decays exponentially from block to block (the same).",
    )

    kind: Literal["predictive_coding"] = "predictive_coding"
    mode: InferenceMode = Field(
        default="strict",
        description="strict: values descend the energy. fixed_prediction: predictions and slopes stay those of the "
        "forward pass (equivalent to backprop at inference_rate 1 after one step per hidden block). zero_divergence: "
        "each block learns at the step when the error reaches it (equivalent to backprop at inference_rate 1). "
        "error_based: the same energy descended in the errors, which needs a backward pass through the whole network "
        "(equivalent to backprop at inference_steps 0)",
    )
    inference_steps: int | None = Field(
        default=None,
        ge=0,
        le=4096,
        description="T: steps of inference before the weights learn; null: two per hidden block and at least 4 "
        "(strict), 4 (error_based), one per hidden block (fixed_prediction). zero_divergence always takes one per "
        "hidden block. With fewer than one, strict inference leaves the lowest blocks without any error",
    )
    inference_rate: float | None = Field(
        default=None,
        gt=0,
        le=2,
        description="gamma: step size of inference; null: 0.05 (strict, error_based) or 1 (fixed_prediction, "
        "zero_divergence). Weights grow in training, and with them the energy's curvature: large steps diverge later",
    )
    output_weight: float = Field(
        default=1.0,
        gt=0,
        le=1e6,
        description="lambda: weight of the task's loss in the energy of strict and error_based. Gradients are divided "
        "by it; as it goes to 0 those of the settled network go to backprop's",
    )

    @model_validator(mode="after")
    def _steps_have_a_meaning(self) -> "PredictiveCodingSpec":
        if self.mode == "zero_divergence" and self.inference_steps is not None:
            raise ValueError("zero_divergence takes one inference step per hidden block: leave inference_steps out")
        if self.inference_steps == 0 and self.mode != "error_based":
            raise ValueError(f"without inference steps no error reaches a hidden block in mode {self.mode}")
        if self.output_weight != 1 and self.mode in ("fixed_prediction", "zero_divergence"):
            raise ValueError(f"output_weight changes nothing in mode {self.mode}, where errors are linear in it")
        return self

    @property
    def rate(self) -> float:
        """gamma in this mode."""
        if self.inference_rate is not None:
            return self.inference_rate
        return 0.05 if self.mode in ("strict", "error_based") else 1.0

    def steps(self, hidden: int) -> int:
        """T in this mode on a network of ``hidden`` blocks below its last."""
        if self.inference_steps is not None:
            return self.inference_steps
        return {"strict": max(4, 2 * hidden), "error_based": 4}.get(self.mode, hidden)

    @property
    def carries_the_exact_error(self) -> bool:
        """Whether these fields give backprop's gradient on every network."""
        if self.mode == "error_based":
            return self.inference_steps == 0
        # A fixed number of sweeps may be too few for a deep network.
        return self.mode != "strict" and self.rate == 1 and self.inference_steps is None

    def expected_alignment(self, *, size: int, noise: float) -> float | None:  # noqa: ARG002
        return 1.0 if self.carries_the_exact_error else None

    @property
    def crosses_blocks(self) -> bool:
        return self.mode == "error_based"
