"""What the commands of the terminal share: their arguments, their exit codes, the service, what they print."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from afterprop.answers import Job
    from afterprop.client import Client

FAILED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
WIDTH_OF_A_FILE = 160
RETRIES = 2  # a person is waiting

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SpecFile = Annotated[str, typer.Argument(metavar="FILE", help="A job spec: JSON, YAML, or - for standard input.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.")]


def read_or_exit(file: str) -> dict[str, Any]:
    from afterprop.spec_file import UnreadableSpec, read_spec

    try:
        return read_spec(file)
    except UnreadableSpec as error:
        print(error, file=sys.stderr)
        raise typer.Exit(USAGE) from None


def client() -> "Client":
    from afterprop.client import Client

    return Client(max_retries=RETRIES)


def console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    made = Console(stderr=stderr)
    return made if made.is_terminal else Console(stderr=stderr, width=WIDTH_OF_A_FILE)


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)


def answer(job: "Job | dict[str, Any]", *, as_json: bool, text: str) -> None:
    if as_json:
        print_json(job)
    else:
        print(text, flush=True)


def answer_status(job: "Job", *, as_json: bool) -> None:
    answer(job, as_json=as_json, text=f"{job['id']} {job['status']}")
