"""Tests with a running daemon, in machines as those of tests/netns."""

from __future__ import annotations

from tests.netns.conftest import namespaces

__all__ = ["namespaces"]
