"""Seeds are drawn anew in every run; their tests have names that stay."""

import pytest


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    # Two processes that share these tests draw two sets of seeds: they must still mean the same test.
    return "drawn" if argname == "seed" else None
