"""The node's clock, which signatures of DNS updates depend on."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from snf_network.model.config import dns_is_on
from snf_network.observe.doctor.finding import WARNING, Finding
from snf_network.observe.doctor.look import Look

if TYPE_CHECKING:
    from collections.abc import Iterator

TIME_ERROR = 5
"""adjtimex(2): nobody has set the clock right for some time (STA_UNSYNC)."""
TIMEX = 256
"""Enough octets for struct timex; all zero, it only asks."""


def clock(look: Look) -> Iterator[Finding]:
    """Servers refuse what is signed more than five minutes off: TSIG (RFC 8945, 5.2.3) and Kerberos alike."""
    signs = dns_is_on(look.config) and look.config.authentication_method != "plain"
    if signs and ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX)) == TIME_ERROR:
        what = "the clock is not synchronised: once it is 5 minutes off, no signed DNS update is accepted"
        yield Finding(WARNING, "clock", what, "apt install chrony; chronyc waitsync 10")
