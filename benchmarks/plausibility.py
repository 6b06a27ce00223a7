"""The plausibility cards of the learning rules, measured and kept: ``python -m benchmarks.plausibility [KIND ...]``.

Beside each rule's defaults its variants are measured, each on the first network that the rule trains.
"""

import json
import sys

from pydantic import TypeAdapter

from learners.plausibility import measure
from specs.architecture import Architecture
from specs.compatibility import kind_of, refusals
from specs.learners import LEARNER_SPECS
from specs.networks import NETWORK_SPECS, NetworkSpec
from specs.optimizers import OptimizerSpec, Update
from specs.plausibility import CARDS, PlausibilityCard
from specs.rule import Rule

DEEP = [
    {"kind": "mlp", "hidden": [6, 5, 4], "activation": "sigmoid"},
    {"kind": "mlp", "hidden": [6, 5], "activation": "sigmoid"},
]


def cards(kind: type[Rule]) -> list[PlausibilityCard]:
    """The cards of one kind: its defaults', then its variants'."""
    found = []
    for fields in ({}, *kind.variants):
        rule = kind.model_validate(fields)
        network = next(one for one in networks() if not refusals(rule, one))
        found.append(measure(rule, network, optimizer(rule)))
    return found


def networks() -> list[Architecture]:
    """Networks in the order in which they are tried."""
    small = [{"kind": kind_of(spec), **fields} for spec in NETWORK_SPECS for fields in spec.small.values()]
    made = [TypeAdapter(NetworkSpec).validate_python(fields) for fields in [*DEEP, *small]]
    return [network for network in made if network.depth > 1]


def optimizer(rule: Rule) -> Update:
    """One that the rule steps with; no step is taken."""
    kind = "sgd" if rule.optimizers is None else min(rule.optimizers)
    made: Update = TypeAdapter(OptimizerSpec).validate_python({"kind": kind})
    return made


def main(wanted: list[str]) -> None:
    kept = json.loads(CARDS.read_text()) if CARDS.exists() else {}
    for kind in LEARNER_SPECS:
        name = kind_of(kind)
        if wanted and name not in wanted:
            continue
        kept[name] = [card.model_dump() for card in cards(kind)]
        for card in kept[name]:
            print(name, *(f"{row}={value}" for row, value in card.items()))
    CARDS.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
