"""What a learner says of itself: declared, finite, and true where the answer is known."""

import pytest
import torch

from specs.learners import LEARNER_SPECS
from tests.learners.small_jobs import LEARNERS, NETWORKS, fitting, learner_spec, one_of_each_layout, small_job

MLP = {"kind": "mlp", "hidden": [6, 5]}
BOUNDED = {**MLP, "activation": "hard_sigmoid"}


@pytest.mark.parametrize("learner", LEARNERS)
def test_quantities_are_declared_finite_and_stay_on_the_device(learner: str) -> None:
    rule = learner_spec(LEARNERS[learner])
    for network in one_of_each_layout(fitting(LEARNERS[learner])):
        small = small_job(NETWORKS[network], LEARNERS[learner], dtype=torch.float32)
        for report in small.run(2):
            for name, value in report.quantities.items():
                told = name.removeprefix("part_1_") if rule.holds_rules else name
                declared = {quantity for spec in LEARNER_SPECS for quantity in spec.quantities}
                assert told.rstrip("_0123456789") in (declared if rule.holds_rules else rule.quantities), name
                assert not value.requires_grad
                assert torch.isfinite(value).all(), name
                assert value.dim() == 0 or value.shape[0] <= len(small.training.network.names)


def test_goodness_is_told_apart_and_judged_by_the_threshold() -> None:
    def told(threshold: float) -> dict[str, torch.Tensor]:
        rule = {"kind": "forward_forward", "goodness_threshold": threshold}
        return dict(small_job(MLP, rule).run(1)[0].quantities)

    found = told(1.0)
    assert torch.equal(found["goodness_margin"], found["goodness_positive"] - found["goodness_negative"])
    # Beyond reach all rows pass as false ones: half of them are. Near zero all pass as real ones.
    assert told(1e6)["goodness_accuracy"].tolist() == [0.5, 0.5]
    assert told(1e-9)["goodness_accuracy"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("mode", ["strict", "error_based"])
def test_last_step_of_inference_takes_less_energy_the_longer_it_lasts(mode: str) -> None:
    def drop(steps: int) -> float:
        rule = {"kind": "predictive_coding", "mode": mode, "inference_steps": steps, "inference_rate": 0.1}
        (report,) = small_job({**MLP, "activation": "tanh"}, rule).run(1)
        return float(report.quantities["inference_last_drop"])

    assert drop(1) > 1e-4
    assert drop(1) > 10 * drop(200) >= 0


def test_error_of_predictive_coding_shrinks_towards_the_input() -> None:
    """Few steps of inference carry the error down block by block: its own vanishing gradient (arXiv 2505.20137)."""
    rule = {"kind": "predictive_coding", "mode": "strict", "inference_steps": 3, "inference_rate": 0.05}
    deep = {"kind": "mlp", "hidden": [6, 6, 6, 6], "activation": "tanh"}
    (report,) = small_job(deep, rule).run(1)
    errors = report.quantities["prediction_error"]
    assert len(errors) == 4
    assert errors[-1] > 10 * errors[1]


@pytest.mark.parametrize("learner", ["evolution_strategies", "mezo"])
def test_perturbation_that_the_loss_cannot_tell_has_no_resolution(learner: str) -> None:
    def told(scale: float) -> dict[str, torch.Tensor]:
        rule = {"kind": learner, "perturbation_scale": scale}
        return dict(small_job(MLP, rule, dtype=torch.float32).run(1)[0].quantities)

    assert told(0.02)["loss_resolution"] > 1000
    flat = told(1e-12)
    assert flat["loss_resolution"] == 0
    if learner == "evolution_strategies":
        assert flat["population_loss_ties"] == 1
        assert told(0.02)["population_loss_ties"] == 0


def test_use_of_units_falls_to_one_in_all_where_one_always_wins() -> None:
    small = small_job(MLP, {"kind": "soft_hebb"})
    first = small.training.network.stages[0].synapse
    with torch.no_grad():
        first.weight.zero_()
    assert float(small.run(1)[0].quantities["unit_use"][0]) == pytest.approx(1)
    small = small_job(MLP, {"kind": "soft_hebb", "normalize_inputs": False, "inverse_temperature": 1000.0})
    with torch.no_grad():
        small.training.network.stages[0].synapse.weight.zero_()[2] = 10.0 * small.batch.x.new_tensor([1, 0, 0, 0, 0])
        small.batch.x[:, 0] = 1.0
    assert float(small.run(1)[0].quantities["unit_use"][0]) == pytest.approx(1 / 6)


def test_nudging_moves_states_by_what_it_is_worth() -> None:
    def shift(strength: float) -> torch.Tensor:
        rule = {"kind": "equilibrium_propagation", "nudging_strength": strength}
        return small_job(BOUNDED, rule).run(1)[0].quantities["nudged_shift"]

    assert (shift(0.5) > 0).all()
    torch.testing.assert_close(shift(1e-3) / shift(5e-4), shift(1e-3).new_full((3,), 2.0), rtol=0.05, atol=0)
