"""What the fuzzer cannot know: what has ended and what was found in it, and that events and lines can be streamed."""

import os
from typing import Any

import schemathesis

JOB = os.environ["FUZZ_JOB"]
COMPARISON = os.environ["FUZZ_COMPARISON"]
VERDICT = os.environ["FUZZ_VERDICT"]
PROBE = os.environ["FUZZ_PROBE"]
STREAMED = ("list_events", "list_logs")


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Half of the well-formed ids are those of the job and of the comparison that have ended, of its verdict and of its
    probe."""
    given = path_parameters or {}
    known = {"job_id": JOB, "comparison_id": COMPARISON, "verdict_id": VERDICT, "probe_id": PROBE}
    for name, ended in known.items():
        if name in given and str(given[name])[-1:] in "01234567":
            given[name] = ended
    return path_parameters


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Events and lines of the job that has ended are asked for as a stream."""
    operation = case.operation.definition.raw.get("operationId")
    if operation in STREAMED and JOB in case.path_parameters.values():
        case.headers["Accept"] = "text/event-stream"
