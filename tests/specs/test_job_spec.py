"""The menu: what a job may say, what is refused, and how it is told."""

import itertools
import json
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from specs.data_sources import SplitSpec, split_rows
from specs.job import JobSpec, steps_bound
from specs.learners import LEARNER_SPECS
from specs.limits import Limits
from specs.recipes import RECIPES
from specs.signature import DataSignature
from specs.training import MAX_STEPS

SMALLEST: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [16]},
    "learner": {"kind": "backprop"},
}
SECTIONS = [
    "name",
    "labels",
    "dataset",
    "network",
    "learner",
    "optimizer",
    "training",
    "diagnostics",
    "resources",
    "limits",
]


def test_dataset_network_and_learner_are_enough_and_all_defaults_are_written_out() -> None:
    resolved = JobSpec.model_validate(SMALLEST).resolved()
    assert list(resolved) == SECTIONS
    assert resolved["optimizer"]["kind"] == "adamw"
    assert resolved["training"]["epochs"] == 5
    assert resolved["training"]["batch_size"] == 64
    assert resolved["diagnostics"] == {
        "every_steps": 10,
        "alignment_every_steps": 100,
        "row_gradients": False,
        "gradient_histogram": False,
        "leave_out": [],
        "budget_percent": 1.0,
    }
    assert resolved["resources"] == {"device": "auto", "threads": 1}
    assert resolved["limits"] == {"max_runtime_s": 3600, "max_attempts": 3, "max_pending_s": None}


@pytest.mark.parametrize("fields", [SMALLEST, *({"recipe": name} for name in RECIPES)])
def test_resolved_spec_means_the_same_job(fields: dict[str, Any]) -> None:
    spec = JobSpec.model_validate(fields)
    text = json.dumps(spec.resolved())
    assert JobSpec.model_validate_json(text) == spec
    assert JobSpec.model_validate(json.loads(text)) == spec
    assert JobSpec.model_validate_json(text).resolved() == spec.resolved()


@pytest.mark.parametrize("rule", LEARNER_SPECS)
def test_every_learners_example_is_a_job(rule: Any) -> None:
    assert JobSpec.model_validate(rule.example).learner.kind == rule.model_fields["kind"].default


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("batch_larger_than_rows", "/training/batch_size", {"training": {"batch_size": 1259}}),
    ("batch_size_out_of_range", "/batch_size", {"training": {"batch_size": 0}}),
    ("micro_batch_above_batch", "/micro_batch_size", {"training": {"batch_size": 8, "micro_batch_size": 9}}),
    ("one_length", "/epochs", {"training": {"epochs": 1, "budget": {"kind": "steps", "value": 3}}}),
    ("one_length", "/epochs", {"training": {"epochs": None}}),
    ("budget_not_whole", "/value", {"training": {"budget": {"kind": "steps", "value": 2.5}}}),
    ("too_many_steps", "/value", {"training": {"budget": {"kind": "steps", "value": MAX_STEPS + 1}}}),
    ("too_many_steps", "/training", {"training": {"epochs": 1_000_000}}),
    ("too_many_parameters", "/network", {"network": {"kind": "mlp", "hidden": [20_000, 20_000]}}),
    (
        "early_stopping_needs_validation",
        "/dataset/split/validation",
        {"training": {"early_stopping": {}}, "dataset": {**SMALLEST["dataset"], "split": {"validation": 0}}},
    ),
    ("metric_does_not_fit", "/training/early_stopping/metric", {"training": {"early_stopping": {"metric": "mse"}}}),
    (
        "task_does_not_fit",
        "/dataset/task",
        {"dataset": {"kind": "builtin", "name": "diabetes", "task": "classification"}},
    ),
    ("input_layout", "/network/kind", {"network": {"kind": "cfc"}}),
    (
        "needs_hidden_block",
        "/network/hidden",
        {"learner": {"kind": "forward_forward"}, "network": {"kind": "mlp", "hidden": []}},
    ),
    ("optimizer_kind", "/optimizer/kind", {"learner": {"kind": "mezo"}, "optimizer": {"kind": "adam"}}),
    (
        "schedule_length",
        "/optimizer/schedule/steps",
        {
            "optimizer": {"kind": "sgd", "schedule": {"kind": "cosine"}},
            "training": {"budget": {"kind": "seconds", "value": 9}},
        },
    ),
    ("unknown_recipe", "/recipe", {"recipe": "nothing"}),
    (
        "length_too_short",
        "/length",
        {"dataset": {"kind": "synthetic", "name": "event_xor", "bits": 9, "length": 8}, "network": {"kind": "cfc"}},
    ),
    (
        "split_leaves_no_training_rows",
        "",
        {"dataset": {**SMALLEST["dataset"], "split": {"validation": 0.5, "test": 0.5}}},
    ),
]


@pytest.mark.parametrize(("code", "pointer", "fields"), REFUSED)
def test_refusal_names_its_place_and_what_is_allowed(code: str, pointer: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate({**SMALLEST, **fields}, context={"limits": Limits()})
    (error,) = caught.value.errors()
    assert error["type"] == code
    assert error["ctx"].get("pointer", "") == pointer
    assert error["ctx"]["allowed"]
    json.dumps(error["ctx"])


def test_refused_pair_names_the_nearest_that_trains() -> None:
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate({**SMALLEST, "network": {"kind": "cfc"}})
    nearest = caught.value.errors()[0]["ctx"]["nearest"]
    assert JobSpec.model_validate({**SMALLEST, **nearest})


@pytest.mark.parametrize(
    "fields",
    [{"epochs": 3}, {"training": {"epoch": 3}}, {"training": {"epochs": "3"}}, {"training": {"batch_size": True}}],
)
def test_unknown_fields_and_silent_conversions_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JobSpec.model_validate({**SMALLEST, **fields})


def test_learner_of_one_optimizer_gets_it_by_default() -> None:
    spec = JobSpec.model_validate({**SMALLEST, "learner": {"kind": "mezo"}})
    assert spec.optimizer.kind == "sgd"


def test_recipe_is_overridden_field_by_field_and_replaced_kind_by_kind() -> None:
    base = JobSpec.model_validate({"recipe": "liquid"})
    changed = JobSpec.model_validate({"recipe": "liquid", "training": {"epochs": 3}, "network": {"kind": "ltc"}})
    assert changed.training.epochs == 3
    assert changed.training.batch_size == base.training.batch_size
    assert changed.network.kind == "ltc"
    assert changed.dataset == base.dataset


@pytest.mark.parametrize(
    ("rows", "fractions", "expected"),
    [(1797, (0.1, 0.2), (1258, 180, 359)), (10, (0, 0), (10, 0, 0)), (3, (0.1, 0.2), (2, 0, 1))],
)
def test_split_rows_add_up(rows: int, fractions: tuple[float, float], expected: tuple[int, int, int]) -> None:
    assert split_rows(rows, SplitSpec(validation=fractions[0], test=fractions[1])) == expected
    assert sum(expected) == rows


@pytest.mark.parametrize(
    ("training", "steps"),
    [
        ({"epochs": 3, "batch_size": 40}, 9),
        ({"epochs": 3, "batch_size": "full"}, 3),
        ({"budget": {"kind": "epochs", "value": 2}, "batch_size": 50}, 4),
        ({"budget": {"kind": "steps", "value": 7}}, 7),
        ({"budget": {"kind": "samples", "value": 101}, "batch_size": 40}, 4),
        ({"budget": {"kind": "seconds", "value": 101}}, None),
    ],
)
def test_steps_are_known_beforehand_where_they_can_be(training: dict[str, Any], steps: int | None) -> None:
    spec = JobSpec.model_validate({**SMALLEST, "training": training})
    assert steps_bound(spec.training, 100) == steps


def test_parameters_are_estimated_before_anything_is_allocated() -> None:
    signature = DataSignature(task="classification", input_shape=(784,), outputs=10, rows_train=1)
    for hidden in ([], [256, 256], [65_536]):
        spec = JobSpec.model_validate({**SMALLEST, "network": {"kind": "mlp", "hidden": hidden}})
        widths = [784, *hidden, 10]
        expected = sum(a * b + b for a, b in itertools.pairwise(widths))
        assert spec.network.parameters(signature) == expected <= Limits().parameters


def test_the_menu_never_imports_torch_or_numpy() -> None:
    code = "import sys; import specs.job, specs.recipes; assert not {'torch', 'numpy', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_budget_takes_the_place_of_a_recipes_epochs() -> None:
    job = JobSpec.model_validate({"recipe": "backprop", "training": {"budget": {"kind": "steps", "value": 3}}})
    assert job.training.epochs is None and job.training.budget is not None and job.training.budget.value == 3
    mixed = JobSpec.model_validate(
        {"recipe": "hybrid", "learner": {"mix": [{"weight": 1.0, "learner": {"kind": "backprop"}}]}}
    )
    assert mixed.resolved()["learner"]["phases"] is None
