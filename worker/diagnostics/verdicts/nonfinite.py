"""Numbers that are not finite: a finding made where the loop withheld the step, not by a rule."""

from typing import Any

from specs.verdict_kinds import Severity
from specs.verdicts import Evidence, Finding, Remedy, replacing
from worker.diagnostics.verdicts.history import Case
from worker.origin import Origin


def nonfinite(case: Case, origin: Origin, *, step: int, severity: Severity) -> Finding:
    """What was found at ``step``, counted from 1; the weights are those before it."""
    facts: dict[str, str] = {"tensor": origin.tensor, "kind": origin.kind}
    if origin.part is not None:
        facts["part"] = origin.part
    return Finding(
        code="nonfinite",
        severity=severity,
        layer=origin.layer,
        first_step=step,
        last_step=step,
        evidence=Evidence(
            quantity=origin.tensor,
            value=None,
            numbers={} if origin.row is None else {"row": float(origin.row)},
            facts=facts,
        ),
        remedies=tuple(_remedies(case, origin)),
    )


def _remedies(case: Case, origin: Origin) -> list[Remedy]:
    skip = replacing(
        "Skip steps whose numbers are not finite. Mending the data is better.", {"/training/on_nan": "continue"}
    )
    if origin.tensor == "input":
        return [skip]
    at, clip = case.optimizer_pointer, case.optimizer.clip_grad_norm
    slower = replacing("Lower the learning rate tenfold.", {f"{at}/lr": case.learning_rate / 10})
    clipped = replacing("Clip the gradient's norm.", {f"{at}/clip_grad_norm": 1.0 if clip is None else clip / 10})
    wider: dict[str, Any] = {"/training/precision": "float32"}
    first = [replacing("Compute in float32.", wider)] if case.spec.training.precision == "bfloat16" else []
    return [*first, slower, clipped, skip]
