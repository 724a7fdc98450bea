"""The node's clock, which signatures of DNS updates and the metrics of routes depend on."""

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
    """Servers refuse what is signed more than five minutes off: TSIG (RFC 8945, 5.2.3) and Kerberos alike.
    And of two nodes' routes to a guest, the one wins that was made later by its node's clock.
    """
    signs = dns_is_on(look.config) and look.config.authentication_method != "plain"
    told = look.config.newest_route_wins
    if (signs or told) and ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX)) == TIME_ERROR:
        what = "once it is 5 minutes off, no signed DNS update is accepted"
        what = what if signs else "once it is off, an older route to a guest may win over a newer one"
        what = f"the clock is not synchronised: {what}"
        yield Finding(WARNING, "clock", what, "apt install chrony; chronyc waitsync 10")
