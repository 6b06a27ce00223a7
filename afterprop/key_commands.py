"""`afterprop keys`: made, listed, revoked; over HTTP by an admin's key, else at the machine of the state folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from afterprop.terminal import UNREACHABLE, USAGE, AsJson, client, console, print_json

app = typer.Typer(no_args_is_help=True, help="Keys of projects. Needed wherever others than this machine can come.")

StateDir = Annotated[
    Path | None,
    typer.Option(
        help="Work on the database of this state folder itself (also by AFTERPROP_DATABASE_URL). Done anyway, on "
        "AFTERPROP_STATE_DIR or ./run, while AFTERPROP_API_KEY is not set: the first key can be made no other way."
    ),
]


@app.command()
def create(
    project: Annotated[str, typer.Option(help="Whose things it sees.")] = "default",
    name: Annotated[str, typer.Option(help="What uses it; for people.")] = "",
    scope: Annotated[str, typer.Option(help="read, write or admin; each holds those before it.")] = "write",
    expires_days: Annotated[float | None, typer.Option(min=0.001, help="Never by default.")] = None,
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. Its text is shown this once."""
    if _at_the_machine(state_dir):
        options = ["--project", project, "--name", name, "--scope", scope]
        options += [] if expires_days is None else ["--expires-days", str(expires_days)]
        _run(state_dir, "migrations")
        [made] = _run(state_dir, "api.keys", "create", *options)
    else:
        seconds = None if expires_days is None else round(expires_days * 86400)
        with client() as service:
            made = service.create_key(project=project, name=name, scopes=[scope], expires_in_s=seconds)
    if as_json:
        print_json(made)
        return
    print(made["key"], flush=True)
    print(
        f"{made['id']} of project {made['project']}. Send it as AFTERPROP_API_KEY; it is not shown again.",
        file=sys.stderr,
    )


@app.command("list")
def list_keys(state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """List keys, newest first, without their texts."""
    if _at_the_machine(state_dir):
        found = _run(state_dir, "api.keys", "list")
    else:
        with client() as service:
            found = service.keys()
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    table = Table("id", "project", "name", "scopes", "expires", "revoked", "last used", box=None)
    for key in found:
        times = [key[name] or "-" for name in ("expires_at", "revoked_at", "last_used_at")]
        table.add_row(key["id"], key["project"], key["name"], ", ".join(key["scopes"]), *times)
    console().print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="A key's id.")],
    state_dir: StateDir = None,
    as_json: AsJson = False,
) -> None:
    """End a key, at once and for good."""
    if _at_the_machine(state_dir):
        _run(state_dir, "api.keys", "revoke", key_id)
    else:
        with client() as service:
            service.revoke_key(key_id)
    if as_json:
        print_json({"id": key_id, "revoked": True})
    else:
        print(f"{key_id} revoked", flush=True)


def _at_the_machine(state_dir: Path | None) -> bool:
    return state_dir is not None or not os.environ.get("AFTERPROP_API_KEY")


def _run(state_dir: Path | None, module: str, *arguments: str) -> list[dict[str, Any]]:
    """What a process of the service answers; it, and not this command, knows the database."""
    from afterprop.stack import CannotStart, source_tree

    folder = state_dir or Path(os.environ.get("AFTERPROP_STATE_DIR") or "run")
    environment = {**os.environ, "AFTERPROP_STATE_DIR": str(folder.resolve())}
    try:
        source = source_tree()
    except CannotStart as error:
        _give_up(str(error), UNREACHABLE)
    command = [sys.executable, "-m", module, *arguments]
    ended = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        _give_up(ended.stderr.strip(), USAGE if ended.returncode == USAGE else UNREACHABLE)
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


def _give_up(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(code)
