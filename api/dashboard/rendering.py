"""Templates to pages. Everything that a template prints is escaped."""

from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from api.dashboard import formats
from api.exposure import asks_for_keys
from specs.version import VERSION
from store.settings import Settings

OPENNESS = {
    None: "Open: asks for no keys, answers on this machine alone",
    "loopback-published": "Open: asks for no keys; its port is to be published on 127.0.0.1 alone",
}

GUARDED = "Asks for keys"

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "figure": formats.figure,
    "share": formats.share,
    "duration": formats.duration,
    "moment": formats.moment,
    "words": formats.words,
}


def page(template: str, settings: Settings, *, status: int = 200, place: str = "jobs", **content: Any) -> HTMLResponse:
    """The template filled with ``content``. Never kept: a page shows a moment."""
    guarded = asks_for_keys(settings)
    openness = GUARDED if guarded else OPENNESS.get(settings.open, OPENNESS[None])
    text = rendered(template, **content, place=place, openness=openness, guarded=guarded)
    headers = {"Cache-Control": "no-store"}
    if guarded:
        # Other sites are told nothing either way. With no-referrer a form would not say that it is an own page's.
        headers["Referrer-Policy"] = "same-origin"
    return HTMLResponse(text, status_code=status, headers=headers)


def rendered(template: str, **content: Any) -> str:
    """The template's text."""
    return _templates.get_template(template).render(**content, version=VERSION)


def message(settings: Settings, *, status: int, title: str, detail: str, code: str) -> HTMLResponse:
    """A page that says one thing."""
    return page("message.html", settings, status=status, place="", title=title, detail=detail, code=code)
