"""The lab's names under their old one."""

from __future__ import annotations

from lab import *  # noqa: F403
from lab import settle as settled  # noqa: F401
