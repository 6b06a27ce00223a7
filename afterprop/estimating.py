"""How an estimate looks in a terminal."""

import json
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from afterprop.printing import number, scaled

FITS: Final = 0
DOES_NOT: Final = 1
_COMPONENTS: Final = ("weights", "gradients", "optimizer", "own_tensors", "activations", "working", "process", "data")


def tell(found: dict[str, Any], *, console: Console, as_json: bool) -> int:
    """Print an estimate; the exit code: 1 where the job does not fit."""
    if as_json:
        print(json.dumps(found, ensure_ascii=False), flush=True)
    else:
        _print(found, console)
    return DOES_NOT if found["fits"] is False else FITS


def _print(found: dict[str, Any], console: Console) -> None:
    table = Table(show_header=False, box=None)
    memory = found["memory"]
    rows = {
        "fits": {True: "yes", False: "no", None: "unknown"}[found["fits"]],
        "parameters": _count(found["parameters"]),
        "steps": _count(found["steps"]),
        "peak": f"{_bytes(memory['peak_bytes'])} of {_bytes(found['available_bytes'])} free ({memory['basis']})",
        **{f"  {name.replace('_', ' ')}": _bytes(memory[name]) for name in _COMPONENTS if memory[name] is not None},
        "FLOP": f"{scaled(found['flops']).rstrip()} ({scaled(found['flops_per_step']).rstrip()} a step)",
        "training": f"{number(found['training_s'])} s ({found['seconds_basis'] or 'unknown'})",
        "wall": f"{number(found['wall_s'])} s",
    }
    for name, text in rows.items():
        table.add_row(name, text)
    console.print(table)
    for obstacle in found["why_not"]:
        console.print(obstacle["message"], style="red", highlight=False, markup=False)
    for note in found["notes"]:
        console.print(note, style="dim", highlight=False, markup=False)


def _bytes(count: int | None) -> str:
    return "?" if count is None else f"{count / 1e6:.1f} MB"


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
