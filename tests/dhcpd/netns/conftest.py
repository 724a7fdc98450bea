"""Fixtures of the tests with a running daemon: machines, as in tests/netns, and nfdhcpd in one of them."""

from __future__ import annotations

from tests.netns.conftest import lab, root

__all__ = ["lab", "root"]
