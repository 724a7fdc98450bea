"""The frames of the self-test (snf_network/selftest/frames.py), which all tests with packets use."""

from __future__ import annotations

from snf_network.selftest.frames import *  # noqa: F403
