"""Commands that work on a state folder itself: done by a process of the service, which knows the database."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import typer

from afterprop.terminal import FAILED, UNREACHABLE, USAGE


def run_here(state_dir: Path | None, module: str, *arguments: str) -> list[dict[str, Any]]:
    """What a process of the service answers: the JSON objects that it prints, a line each. Exits where it failed."""
    ended = process_here(state_dir, module, *arguments)
    if ended.returncode != 0:
        give_up(ended.stderr.strip(), USAGE if ended.returncode == USAGE else UNREACHABLE)
    return answers(ended)


def process_here(state_dir: Path | None, module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The process, once it has ended."""
    from afterprop.stack import CannotStart, source_tree

    folder = state_dir or Path(os.environ.get("AFTERPROP_STATE_DIR") or "run")
    environment = {**os.environ, "AFTERPROP_STATE_DIR": str(folder.resolve())}
    try:
        source = source_tree()
    except CannotStart as error:
        give_up(str(error), UNREACHABLE)
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)


def answers(ended: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    """The JSON objects among the lines that a process wrote."""
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


def give_up(message: str, code: int = FAILED) -> NoReturn:
    """Says why, and exits."""
    print(message, file=sys.stderr)
    raise typer.Exit(code)
