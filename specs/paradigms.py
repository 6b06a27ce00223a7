"""The paradigms that people read about: every learning rule under its kind, and those that go by another name."""

from collections.abc import Iterator
from typing import Any

from specs.learners import LEARNER_SPECS
from specs.recipe import DIGITS, Recipe
from specs.rule import Rule

_RULES: dict[str, type[Rule]] = {rule.model_fields["kind"].default: rule for rule in LEARNER_SPECS}


def _example(kind: str) -> dict[str, Any]:
    """The sections of the rule's example."""
    return {section: fields for section, fields in _RULES[kind].example.items() if section != "name"}


def _paper(kind: str) -> str:
    paper = _RULES[kind].paper
    return f"{paper.authors} {paper.year}: {paper.title}"


def _rule(
    kind: str, *, name: str | None = None, description: str | None = None, paper: str | None = None, **sections: Any
) -> Recipe:
    """The recipe of a rule: its example, with other sections laid over it."""
    return Recipe(
        name=name or kind,
        description=description or _RULES[kind].summary,
        paper=paper or _paper(kind),
        spec={**_example(kind), **sections},
    )


def paradigms() -> Iterator[Recipe]:
    """All of them, the rules first."""
    for kind in _RULES:
        if kind != "feedback_alignment":
            yield _rule(kind)
    yield _rule(
        "feedback_alignment",
        learner={"kind": "feedback_alignment", "route": "sequential"},
        description="Errors go down through fixed random matrices, layer by layer, instead of the transposed weights.",
    )
    yield _rule(
        "feedback_alignment",
        name="direct_feedback_alignment",
        learner={"kind": "feedback_alignment", "route": "direct"},
        description="The output's error goes to every layer at once, through a fixed random matrix each.",
        paper="Nøkland 2016: Direct Feedback Alignment Provides Learning in Deep Neural Networks, arXiv 1609.01596",
    )
    yield _rule(
        "mezo",
        name="gradient_free",
        description="Two forward passes estimate the slope along a random direction: memory of inference.",
    )
    yield _rule("evolution_strategies", name="evolution")
    yield _rule("soft_hebb", name="hebbian")
    yield Recipe(
        name="liquid",
        description="A closed-form continuous-time network on events that come at irregular times.",
        paper="Hasani et al. 2022, arXiv 2106.13898",
        spec={
            "dataset": {"kind": "synthetic", "name": "event_xor", "bits": 8},
            "network": {"kind": "cfc", "hidden": [32]},
            "learner": {"kind": "backprop"},
            "optimizer": {"kind": "adam", "lr": 0.002, "clip_grad_norm": 1.0},
            "training": {"epochs": 20, "batch_size": 128},
        },
    )
    yield Recipe(
        name="spiking",
        description="Leaky integrate-and-fire units that tell digits apart by spikes, with a surrogate slope.",
        paper="Neftci, Mostafa & Zenke 2019, arXiv 1901.09948",
        spec={
            "dataset": DIGITS,
            "network": {"kind": "spiking", "hidden": [128]},
            "learner": {"kind": "backprop"},
            "optimizer": {"kind": "adam", "lr": 0.002},
            "training": {"epochs": 10},
        },
    )
