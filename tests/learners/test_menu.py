"""The menu: every kind is built by its name, what cannot train is refused with a way out, examples are jobs."""

import pytest
from pydantic import TypeAdapter, ValidationError

from specs.compatibility import compatible_networks, kind_of, refusal
from specs.job import JobSpec
from specs.kinds import implementation
from specs.learners import LEARNER_SPECS
from specs.learners.forward_forward import ForwardForwardSpec
from specs.learners.mezo import MezoSpec
from specs.networks import NetworkSpec
from specs.networks.cfc import CfcSpec
from specs.networks.mlp import MlpSpec
from specs.optimizers import AdamSpec, CosineSchedule, SgdSpec
from specs.rule import Rule
from specs.signature import DataSignature
from tests.learners.small_jobs import LEARNERS, NETWORKS, learner_spec, network_spec, small_job


@pytest.mark.parametrize("rule", LEARNER_SPECS)
def test_every_learner_says_what_the_catalog_shows(rule: type[Rule]) -> None:
    assert rule.title and rule.summary and rule.equation and rule.paper.url.startswith("https://")
    assert implementation(rule(), "learners").__name__ == rule.__name__.removesuffix("Spec")
    assert compatible_networks(rule)
    assert JobSpec.model_validate(rule.example).learner.kind == rule.model_fields["kind"].default
    for name, field in rule.model_fields.items():
        assert field.description or name == "kind"


@pytest.mark.parametrize("rule", LEARNER_SPECS)
def test_what_a_rule_is_equivalent_to_and_what_does_not_hold_can_be_looked_up(rule: type[Rule]) -> None:
    kinds = {kind_of(other) for other in LEARNER_SPECS}
    for equivalence in rule.equivalent_to:
        assert rule.model_validate(equivalence.settings) is not None
        assert equivalence.to in kinds - {kind_of(rule)} and equivalence.because
    for claim in rule.claims_that_do_not_hold:
        assert ": " in claim and claim.endswith(".")
    if rule.reference_result is not None:
        assert rule.reference_result.command.split()[0] in ("make", "python")


@pytest.mark.parametrize("learner", ["forward_forward", "local_loss", "mono_forward"])
def test_a_linear_model_is_refused_where_blocks_are_trained(learner: str) -> None:
    refused = refusal(learner_spec(LEARNERS[learner]), MlpSpec(hidden=()))
    assert refused is not None
    assert refused.pointer == "/network/hidden"
    assert refusal(learner_spec(LEARNERS[learner]), network_spec(refused.nearest["network"])) is None
    with pytest.raises((ValueError, IndexError)):
        small_job(NETWORKS["linear"], LEARNERS[learner]).run(1)


def test_pepita_is_refused_a_deep_network() -> None:
    refused = refusal(learner_spec({"kind": "pepita"}), MlpSpec(hidden=(8,) * 4))
    assert refused is not None and refused.code == "needs_shallow" and refused.pointer == "/network/hidden"
    assert refusal(learner_spec({"kind": "pepita"}), network_spec(refused.nearest["network"])) is None
    assert refusal(learner_spec({"kind": "pepita"}), MlpSpec(hidden=(8,) * 3)) is None


def test_mezo_is_refused_an_optimizer_with_state() -> None:
    refused = refusal(MezoSpec(), MlpSpec(), AdamSpec())
    assert refused is not None and refused.pointer == "/optimizer/kind" and refused.allowed == ["sgd"]
    momentum = refusal(MezoSpec(), MlpSpec(), SgdSpec(momentum=0.9))
    assert momentum is not None and momentum.pointer == "/optimizer/momentum"
    assert refusal(MezoSpec(), MlpSpec(), SgdSpec()) is None


def test_forward_forward_is_refused_a_regression() -> None:
    signature = DataSignature(task="regression", input_shape=(5,), outputs=1, rows_train=10)
    refused = refusal(ForwardForwardSpec(), MlpSpec(), None, signature)
    assert refused is not None and refused.pointer == "/learner/kind" and "forward_forward" not in refused.allowed


def test_a_network_is_refused_data_that_it_cannot_read() -> None:
    signature = DataSignature(task="classification", input_shape=(5,), outputs=2, rows_train=10)
    refused = refusal(learner_spec({"kind": "backprop"}), CfcSpec(), None, signature)
    assert refused is not None and refused.code == "input_layout"
    assert refused.allowed[0] == "mlp" and not {"cfc", "ltc", "rnn"} & set(refused.allowed)


def test_a_schedule_over_an_unknown_length_is_refused() -> None:
    cosine = AdamSpec(schedule=CosineSchedule())
    assert refusal(learner_spec({"kind": "backprop"}), MlpSpec(), cosine, planned_steps=100) is None
    refused = refusal(learner_spec({"kind": "backprop"}), MlpSpec(), cosine, planned_steps=None)
    assert refused is not None and refused.pointer == "/optimizer/schedule/steps"


@pytest.mark.parametrize(
    "absurd",
    [
        {"kind": "mlp", "hidden": [10**9]},
        {"kind": "mlp", "hidden": [65_536, 65_536]},
        {"kind": "mlp", "hidden": [0]},
        {"kind": "mlp", "hidden": [4] * 513},
        {"kind": "mlp", "dropout": 1.0},
        {"kind": "mlp", "activation": "reLU"},
        {"kind": "cnn", "channels": []},
        {"kind": "cnn", "kernel_size": 4},
        {"kind": "ltc", "hidden": [3], "wiring": "auto_ncp"},
        {"kind": "cfc", "wiring": "ncp"},
        {"kind": "resnet50"},
    ],
)
def test_absurd_networks_are_refused_at_the_door(absurd: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(NetworkSpec).validate_python(absurd)


def test_self_contrastive_rows_have_no_label_to_ask_for() -> None:
    with pytest.raises(ValidationError, match="predicts by readout"):
        ForwardForwardSpec(negatives="self_contrastive")
