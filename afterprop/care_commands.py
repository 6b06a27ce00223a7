"""`afterprop backup`, `restore`, `doctor`: the care of a state folder, at the machine where it is.

Exit codes: 0 well, 1 something is damaged, 2 refused: nothing was written.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from afterprop.at_the_machine import answers, give_up, process_here, run_here
from afterprop.terminal import FAILED, USAGE, AsJson, print_json

StateDir = Annotated[
    Path | None, typer.Option(help="AFTERPROP_STATE_DIR or ./run by default; AFTERPROP_DATABASE_URL counts too.")
]


def backup(
    folder: Annotated[Path, typer.Argument(help="An empty folder, or one that is not there yet.")],
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Copy database, artifacts and uploads into a folder, while the service goes on running."""
    made = _asked(state_dir, "store.backup", str(folder.resolve()))
    if as_json:
        print_json(made)
    else:
        typer.echo(f"{made['files']} files, {made['bytes']} bytes in {folder}")
    if made["damaged"]:
        give_up(f"These differ from the digests of their rows: {', '.join(made['damaged'][:10])}")


def restore(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A backup.")],
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup into an empty state folder. What ran when it was made is queued again, without a charge."""
    source = str(folder.resolve())
    copied = _asked(state_dir, "store.restore", source)
    run_here(state_dir, "migrations")
    settled = _asked(state_dir, "store.restore", source, "--settle")
    if as_json:
        print_json({**copied, **settled})
    else:
        typer.echo(f"{copied['files']} files restored; {settled['jobs_given_back']} jobs queued again")


def doctor(state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Look for what is wrong: database, broker, disk, files without rows, rows without files, jobs without workers."""
    found = _asked(state_dir, "store.doctor")
    if as_json:
        print_json(found)
    else:
        for check in found["checks"]:
            typer.echo(f"{check['state']:7} {check['name']:22} {check['detail']}")
    if found["state"] == "damaged":
        raise typer.Exit(FAILED)


def _asked(state_dir: Path | None, module: str, *arguments: str) -> dict[str, Any]:
    ended = process_here(state_dir, module, *arguments)
    said = answers(ended)
    if not said or "error" in said[-1]:
        give_up(said[-1]["error"] if said else ended.stderr.strip()[-2000:], USAGE)
    return said[-1]
