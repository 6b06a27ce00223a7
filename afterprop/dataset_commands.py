"""The commands of data sets: upload, list, delete."""

from pathlib import Path
from typing import Annotated

import typer

from afterprop.terminal import AsJson, answer, client, print_json

app = typer.Typer(no_args_is_help=True, help="Data sets: what a job may name, and files that you upload.")


@app.command()
def upload(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="csv, npz, parquet, safetensors or zip.")],
    name: Annotated[str | None, typer.Option(help="What to call it; by default as the file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Upload a file; print the id by which a job names it."""
    with client() as service:
        dataset = service.datasets.upload(file, name=name)
    answer(dataset, as_json=as_json, text=dataset["id"])


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show what a job may name."""
    with client() as service:
        found = service.datasets.list()
    if as_json:
        print_json(found)
        return
    for entry in found:
        typer.echo(f"{entry['kind']:10} {entry.get('id') or entry['name']:36} {entry['name']}")


@app.command()
def delete(dataset_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Delete an upload that no job needs any more."""
    with client() as service:
        service.datasets.delete(dataset_id)
