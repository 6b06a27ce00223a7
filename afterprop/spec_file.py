"""A job spec out of a JSON or YAML file, or out of standard input."""

import json
import re
import sys
from pathlib import Path
from typing import Any

STANDARD_INPUT = "-"
FLOAT = re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$")


class UnreadableSpec(Exception):
    """The file is not a JSON or YAML mapping."""


def read_spec(source: str) -> dict[str, Any]:
    """The spec in the file, or in standard input for ``-``. Raises UnreadableSpec."""
    try:
        text = sys.stdin.read() if source == STANDARD_INPUT else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableSpec(f"{source}: {error}") from None
    try:
        spec = parse(text, is_json=source.endswith(".json"))
        json.dumps(spec, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UnreadableSpec(f"{source}: {error}") from None
    if not isinstance(spec, dict):
        raise UnreadableSpec(f"{source}: a job spec is a mapping, not {type(spec).__name__}")
    return spec


def parse(text: str, *, is_json: bool) -> Any:
    """The value in the text. YAML contains JSON, but reads some numbers otherwise, so JSON is tried first."""
    try:
        return json.loads(text)
    except ValueError:
        if is_json:
            raise
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML 1.1 takes ``1e-3`` for text; here it is the number that everybody means."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
    try:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
