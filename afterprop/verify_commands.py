"""The commands that verify: a receipt against a service or by running it again, and a job by replaying it.

Exit codes: 0 it holds, 1 it does not, 2 it could not be asked for.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from afterprop.terminal import FAILED, USAGE, AsJson, JobId, answer, client, console, print_json

if TYPE_CHECKING:
    from afterprop.client import Client
    from afterprop.receipts import Check

MARKS = {True: "same", False: "NOT THE SAME", None: "unknown"}


def verify(
    receipt: Annotated[
        str, typer.Argument(metavar="RECEIPT", help="A receipt's JSON file, - for standard input, or a job.")
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Work out the digests again from what the service holds; run nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a receipt again and compare the bits, or check it against what the service holds."""
    from afterprop.receipts import held_checks, holds, own_checks, rerun

    with client() as service:
        held = receipt_or_exit(service, receipt)
        checks = own_checks(held)
        if check:
            checks += held_checks(service, held)
            tell({"verdict": "holds" if holds(checks) else "does not hold"}, checks, as_json=as_json)
        elif not holds(checks):  # what does not agree with itself is not worth a run
            tell({"verdict": "does not hold"}, checks, as_json=as_json)
        else:
            tell(rerun(service, held), checks, as_json=as_json)


def verify_resume(
    job_id: JobId,
    from_step: Annotated[int | None, typer.Option(min=0, help="Of a kept checkpoint; 0: from the start.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, max=1, help="0: nothing but the same bits will do.")] = 1e-5,
    detach: Annotated[bool, typer.Option("--detach", help="Print its id instead of waiting for the answer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a job from a kept checkpoint and compare every tensor and loss with what it left."""
    with client() as service:
        made = service.jobs.verify_resume(job_id, from_step=from_step, tolerance=tolerance)
        if detach:
            answer(made, as_json=as_json, text=made["id"])
            return
        ended = service.jobs.wait_for_verification(job_id, made["id"])
    if as_json:
        print_json(ended)
    else:
        say(sentence(ended))
    if ended["verdict"] not in ("bitwise", "tolerance"):
        raise typer.Exit(FAILED)


def receipt_or_exit(service: "Client", source: str) -> dict[str, Any]:
    """The receipt in a file, in standard input, or of a job."""
    from afterprop.receipts import NoReceipt, checked

    try:
        if source.startswith("job_") and not Path(source).exists():
            return checked(service.jobs.receipt(source))
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        found = json.loads(text)
        return checked(found if isinstance(found, dict) else {})
    except (NoReceipt, OSError, ValueError) as error:
        print(f"{source}: {error}", file=sys.stderr)
        raise typer.Exit(USAGE) from None


def tell(found: dict[str, Any], checks: list["Check"], *, as_json: bool) -> None:
    """Print the answer; exit 1 unless it is a good one."""
    if as_json:
        print_json({**found, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            detail = check.reason or ("" if check.ok else f"the receipt says {check.said}, found {check.found}")
            say(f"{check.name:24} {MARKS[check.ok]:14} {detail}".rstrip())
        say_rerun(found)
    if found["verdict"] not in ("holds", "identical"):
        raise typer.Exit(FAILED)


def say_rerun(found: dict[str, Any]) -> None:
    if "job_id" in found:
        say(f"run again as {found['job_id']}")
    for name, same in found.get("same", {}).items():
        say(f"{name:24} {MARKS[same]}")
    for name, values in found.get("differs", {}).items():
        say(f"{name:24} the receipt says {values['receipt']}, the rerun {values['rerun']}")
    if (first := found.get("first_loss_difference")) is not None:
        say(f"the loss differs first at step {first['step']}: {first['receipt']}, then {first['rerun']}")
    for words in (found.get("reason"), (found.get("error") or {}).get("message")):
        if words:
            say(words)
    say(found["verdict"])


def sentence(ended: dict[str, Any]) -> str:
    """What a replay came to, in one line."""
    result = ended["result"]
    if result is None:
        return f"failed: {ended['error']['message']}"
    span = f"steps {result['from_step']} to {result['to_step']}"
    if ended["verdict"] == "bitwise":
        return f"bitwise: {span}, {result['values']} values at {result['compared_at']}, {result['losses']} losses"
    first = result["first_difference"] or result["first_loss_difference"]
    where = result["diverged"] or "; ".join(result["state_differs"]) or "the metrics"
    if first is not None:
        place = f"{first.get('tensor', 'loss')}{first.get('index') or ''} at step {first['step']}"
        where = f"{place}: {first['stored']}, replayed {first['replayed']}"
    largest = result["largest_relative_difference"]
    because = f"; not the same: {', '.join(result['circumstances'])}" if result["circumstances"] else ""
    return f"{ended['verdict']}: {span}, largest relative difference {largest}, first {where}{because}"


def say(text: str) -> None:
    console().print(text, highlight=False, markup=False, soft_wrap=True)
