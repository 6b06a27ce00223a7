"""A comparison in a terminal: how far it is, then its answer as a table and a sentence."""

from typing import final

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from afterprop.comparisons import Comparison
from afterprop.printing import number, scaled


@final
class ProgressLine:
    """One line whenever more jobs have ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = ""

    def __call__(self, comparison: Comparison) -> None:
        progress = comparison["progress"]
        told = f"{comparison['status']}: {progress['ended']} of {progress['runs']} jobs"
        if told != self._told and comparison["phase"] == "active":
            self._console.print(told, highlight=False, markup=False)
        self._told = told


def print_comparison(comparison: Comparison, *, url: str, console: Console) -> None:
    """The table of arms, what was left out, the sentence and where the page is."""
    result = comparison.get("result")
    if result and result.get("memory"):
        console.print(_memory(result))
    elif result:
        console.print(_arms(result))
    for line in (result or {}).get("warnings", []):
        console.print(line, style="dim", highlight=False, markup=False)
    sentence = comparison.get("sentence") or (comparison.get("error") or {}).get("message") or comparison["status"]
    console.print(sentence, style="bold", highlight=False, markup=False)
    console.print(f"{url}/comparisons/{comparison['id']}", highlight=False, markup=False, soft_wrap=True)


def _arms(result: Comparison) -> Table:
    heads = ("score", "difference", "p", "seconds", "FLOP", "a prediction")
    table = Table("arm", *(Column(head, justify="right") for head in heads), "decision", box=None, header_style="bold")
    for arm in result["arms"]:
        difference, bill = arm.get("difference"), arm["bill"]
        seconds = bill["inference"]["seconds_per_row"]
        table.add_row(
            Text(arm["name"], style="" if arm["role"] == "learner" else "dim"),
            _spread(arm["mean"], _shown(arm["interval"], result["metric"])),
            _spread(difference["mean"], difference["interval"], signed=True) if difference else "",
            number(arm["adjusted"]["p"]) if arm.get("adjusted") else "",
            number(bill["training"]["training_s"]),
            scaled(bill["training"]["flops"]),
            "?" if seconds is None else f"{number(1e6 * seconds)} us",
            Text((arm["decision"] or arm["role"]) + _divergence(arm)),
        )
    return table


def _shown(interval: list[float] | None, metric: str) -> list[float] | None:
    """A t interval of few seeds may leave what an accuracy can be."""
    return [min(100.0, max(0.0, bound)) for bound in interval] if interval and metric == "accuracy" else interval


def _divergence(arm: Comparison) -> str:
    return f", {arm['diverged']} of {arm['runs']} diverged" if arm["diverged"] else ""


def _memory(result: Comparison) -> Table:
    depths = [point["depth"] for point in result["memory"][0]["points"]]
    columns = [Column(f"{depth} blocks", justify="right") for depth in depths]
    table = Table("learner", *columns, Column("growth", justify="right"), box=None, header_style="bold")
    for curve in result["memory"]:
        stored = [f"{scaled(point['activation_bytes'])}B" for point in curve["points"]]
        growth = curve["growth"]
        table.add_row(Text(curve["name"]), *stored, "?" if growth is None else f"{growth:.2f} x")
    return table


def _spread(mean: float | None, interval: list[float] | None, *, signed: bool = False) -> str:
    if mean is None:
        return "?"
    form = "+.2f" if signed else ".2f"
    shown = format(mean, form)
    return shown if interval is None else f"{shown} ({interval[0]:{form}} to {interval[1]:{form}})"
