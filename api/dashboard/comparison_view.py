"""What the pages of comparisons say, and a comparison as one file that needs no service."""

import json
import re
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from api import catalog
from api.comparison_answers import ComparisonAnswer
from api.dashboard import static_files
from api.dashboard.rendering import rendered
from api.dashboard.static_files import OWN, PLOTLY

MODULES = ("formats.js", "elements.js", "plotting.js", "comparison_view.js")
"""In the order in which each finds those that it needs."""
START = """
const answer = JSON.parse(document.getElementById("answer").textContent);
const place = document.getElementById("comparison");
const redraw = () => drawComparison(window.Plotly, place, answer);
showComparison(place, answer, JSON.parse(document.getElementById("learners").textContent));
for (const select of place.querySelectorAll("select")) select.addEventListener("change", redraw);
onThemeChange(redraw);
redraw();
"""
FIRST = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "network": {"kind": "mlp", "hidden": [128, 128]},
    "learners": ["forward_forward", "mono_forward"],
}


def command(base_url: str) -> str:
    """A comparison to begin with."""
    body = ",\n       ".join(f'"{name}": {json.dumps(value)}' for name, value in FIRST.items())
    return f"curl -X POST {base_url}v1/comparisons \\\n  -H 'Content-Type: application/json' \\\n  -d '{{{body}}}'"


def content(comparison: ComparisonAnswer) -> dict[str, Any]:
    """The content of ``comparison.html``; the browser fills in the rest from the API."""
    spec = comparison.resolved_spec
    return {
        "comparison": comparison,
        "title": comparison.name or comparison.id,
        "sentence": comparison.sentence,
        "plotly": PLOTLY,
        "facts": {
            "Data": comparison.dataset,
            "Network": _network(spec["network"]),
            "Arms": len(comparison.arms),
            "Seeds": len(spec["seeds"]),
            "Budget": _budget(spec["training"]),
            "Tuning": f"{_counted(spec['tuning']['trials'], 'trials')} each" if spec["tuning"] else "untuned",
            "Margin": f"{spec['margin']:g}",
        },
        "power_text": _power(comparison.power),
        "resolved_spec": json.dumps(spec, indent=2, ensure_ascii=False),
    }


def exported(comparison: ComparisonAnswer) -> Iterator[bytes]:
    """The page as one file, in pieces: styles, answer, plotly.js and our modules stand in it; nothing is loaded."""
    text = (OWN / "dashboard.css").read_text()
    head = rendered(
        "comparison_export.html",
        **content(comparison),
        styles=Markup(text),  # noqa: S704 - our own file
        answer=Markup(_harmless(comparison.model_dump_json())),  # noqa: S704 - no angle bracket is left in it
        learners=Markup(_harmless(_learners(comparison))),  # noqa: S704 - the same
    )
    yield head.encode() + b"\n<script>"
    plotly = static_files.find(PLOTLY)
    assert plotly is not None
    yield from plotly.plain()
    yield f'</script>\n<script type="module">{_modules()}{START}</script>\n</body>\n</html>\n'.encode()


def _learners(comparison: ComparisonAnswer) -> str:
    """What the page takes from the list of learners: the plausibility cards of those that are compared."""
    compared = {str(arm.learner["kind"]) for arm in comparison.arms}
    shown = [entry for entry in catalog.learners() if entry.kind in compared]
    return json.dumps([entry.model_dump(mode="json", include={"kind", "plausibility"}) for entry in shown])


def _modules() -> str:
    """Our modules as one: what they take from each other stands above."""
    texts = [(OWN / name).read_text() for name in MODULES]
    return re.sub(r"^(import .*\n|export )", "", "\n".join(texts), flags=re.MULTILINE)


def _harmless(answer: str) -> str:
    return answer.replace("<", "\\u003c")


def _network(spec: dict[str, Any]) -> str:
    hidden = spec.get("hidden")
    return f"{spec['kind']} {' – '.join(map(str, hidden))}" if hidden else str(spec["kind"])


def _budget(training: dict[str, Any]) -> str:
    budget = training["budget"]
    return _counted(budget["value"], budget["kind"]) if budget else _counted(training["epochs"], "epochs")


def _counted(number: float, things: str) -> str:
    return f"{number:g} {things.removesuffix('s') if number == 1 else things}"


def _power(power: dict[str, Any]) -> str:
    if not power:
        return ""
    low, high = (f"{100 * power[name]:.0f} %" for name in ("if_seeds_share_nothing", "if_they_share_half"))
    needed = power["seeds_for_80_percent"]
    told = (
        f"Said before the run: with {power['seeds']:.0f} seeds and {power['tested_against_reference']:.0f} arms tested "
        f"a gap of two deviations over seeds is found in {low} of comparisons if the seeds share nothing, in {high} if "
        "they share half"
    )
    return f"{told}; {needed:.0f} seeds find it in 80 %." if needed else f"{told}."
