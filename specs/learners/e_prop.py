"""E-prop on the menu."""

from typing import ClassVar, Literal

from pydantic import Field

from specs.papers import JobBody, Paper
from specs.rule import Need, Rule


class EPropSpec(Rule):
    """Eligibility traces that run forward in time, times a learning signal that comes with every step."""

    title: ClassVar[str] = "E-prop"
    summary: ClassVar[str] = "Recurrent networks without a pass back through time: traces times learning signals."
    paper: ClassVar[Paper] = Paper(
        title="A solution to the learning dilemma for recurrent networks of spiking neurons",
        authors="Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein, Maass",
        year=2020,
        url="https://doi.org/10.1038/s41467-020-17236-y",
    )
    equation: ClassVar[str] = "g_ji = sum_t L_j,t e_ji,t; e_ji,t = psi_j,t eps_ji,t; L_j,t = sum_k B_jk c_t dL/ds_k"
    needs: ClassVar[frozenset[Need]] = frozenset({"traced_block"})
    exactness: ClassVar[Literal["exact", "unbiased", "biased", "own_objective"]] = "biased"
    uses_backward: ClassVar[Literal["none", "block", "global"]] = "block"
    inside_block: ClassVar[Literal["exact", "none"]] = "none"
    memory_class: ClassVar[Literal["all_activations", "one_block", "inference"]] = "all_activations"
    quantities: ClassVar[dict[str, str]] = {"mean_activity": ""}
    compute_class: ClassVar[str] = "1 forward pass and a product of signals and traces per matrix; no pass back in time"
    example: ClassVar[JobBody] = {
        "name": "e-prop-moving-blob",
        "dataset": {"kind": "synthetic", "name": "sequence_image", "rows": 2000},
        "network": {"kind": "spiking", "hidden": [128], "recurrent": True},
        "learner": {"kind": "e_prop"},
        "optimizer": {"kind": "adam", "lr": 0.002},
        "training": {"epochs": 15, "batch_size": 64, "seed": 0},
    }
    variants: ClassVar[tuple[JobBody, ...]] = ({"feedback": "random"}, {"feedback": "adaptive"})

    kind: Literal["e_prop"] = "e_prop"
    feedback: Literal["symmetric", "random", "adaptive"] = Field(
        default="symmetric",
        description="weights B that carry the output's error to the units: symmetric (the read-out's own), random "
        "(fixed), or adaptive (drawn alike, then changed by the updates that a read-out in their place would get)",
    )

    def follows_error(self) -> bool:
        """It sends the task's own error through its feedback, and a segment below has no read-out to take it from."""
        return False
