"""All tests here make machines of namespaces."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def namespaces(root: None) -> None:
    """Those that make a lab of their own need root as well."""
