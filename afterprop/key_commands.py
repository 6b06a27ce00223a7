"""`afterprop keys`: made, listed, revoked; over HTTP by an admin's key, else at the machine of the state folder."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from afterprop.at_the_machine import run_here
from afterprop.terminal import AsJson, client, console, print_json

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
        run_here(state_dir, "migrations")
        [made] = run_here(state_dir, "api.keys", "create", *options)
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
        found = run_here(state_dir, "api.keys", "list")
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
        run_here(state_dir, "api.keys", "revoke", key_id)
    else:
        with client() as service:
            service.revoke_key(key_id)
    if as_json:
        print_json({"id": key_id, "revoked": True})
    else:
        print(f"{key_id} revoked", flush=True)


def _at_the_machine(state_dir: Path | None) -> bool:
    return state_dir is not None or not os.environ.get("AFTERPROP_API_KEY")
