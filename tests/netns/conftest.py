"""All tests in this folder create machines from namespaces."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def namespaces(root: None) -> None:
    """Those that make a lab of their own need root as well."""


@pytest.fixture(scope="module", params=(False, True), ids=("bridge-nf 0", "bridge-nf 1"))
def bridge_nf(request: pytest.FixtureRequest) -> bool:
    """Whether iptables sees what bridges forward (bridge-nf-call-*): the kernel then drops some frames
    itself, and takes IP out of the bridge's hooks and brings it back.
    """
    return bool(request.param)
