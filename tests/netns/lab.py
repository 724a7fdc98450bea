"""The names of the module lab, under their old path."""

from __future__ import annotations

from lab import *  # noqa: F403
from lab import settle as settled  # noqa: F401
