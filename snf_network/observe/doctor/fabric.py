"""Routing daemons that tell nobody of this node's guests, or do not listen to them: BIRD and FRR, where they
speak BGP.
"""

from __future__ import annotations

import json
import re
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING

from snf_network.addresses import family_of
from snf_network.host.frr import Unanswered
from snf_network.model.resources import BirdFile, FrrFile, Neighbour, NeighProxy, Route
from snf_network.observe.doctor.finding import CRITICAL, Finding
from snf_network.observe.doctor.look import said, several
from snf_network.observe.sessions import look as compared

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from snf_network.observe.doctor.look import Look

PREFIX = re.compile(r"^([0-9a-fA-F:.]+/\d+)\s", re.MULTILINE)
"""How each route begins that birdc shows; another one of the same prefix begins with spaces."""


def exports(look: Look) -> Iterator[Finding]:
    """Guests whose routes no BGP session exports. Only of guests that the node does not answer for on an
    uplink: a router finds those without BGP.
    """
    wanted = _wanted(look)
    if not wanted:
        return
    guests = {one.address for record in look.live for one in record.resources if isinstance(one, Neighbour)}
    for name, told, mend in (
        ("BIRD", _bird(), "birdc show route protocol snf_kernel4; birdc show protocols all"),
        ("FRR", _frr(guests), "vtysh -c 'show bgp ipv4 unicast'; vtysh -c 'show bgp summary'"),
    ):
        left = [one for one in wanted if one not in told.get(family_of(one), {one})]
        if left:
            what = f"{name} tells no BGP peer of {several(left)}: nobody finds the way to these guests"
            yield Finding(CRITICAL, "fabric", what, f"{mend}  # what it has to say: docs/fabric.md")


def sessions(look: Look) -> Iterator[Finding]:
    """Guests with tag bgp with whom the node's routing daemon has no session."""
    for kind, name, lacking, mend in (
        (BirdFile, "BIRD", _not_in_bird, f"birdc configure  # bird.conf includes {look.config.bird_dir}/*"),
        (FrrFile, "FRR", _not_in_frr, "snf-network frr"),
    ):
        taps = [one.device for record in look.live for one in record.resources if isinstance(one, kind)]
        if taps and (left := lacking(look, taps)):
            which = f"{name}'s BGP session with the guest of {several(left)}"
            yield Finding(CRITICAL, "fabric", f"{which} is not there, or not as it should be", mend)


def _not_in_bird(look: Look, taps: list[str]) -> list[str]:
    rows = {line.partition(" ")[0] for line in said("birdc", "show", "protocols").splitlines()}
    return [tap for tap in taps if not rows & {f"snf_guest_{tap}_{family}" for family in "46"}]


def _not_in_frr(look: Look, taps: list[str]) -> list[str]:
    try:
        found = compared(look.config)
    except Unanswered:
        return taps
    different = {one.tap for one in found.different}
    return [tap for tap in taps if found.refused or tap in different]


def _wanted(look: Look) -> list[str]:
    """The prefixes of guests that are found by their routes alone."""
    found = []
    for record in look.live:
        proxies = (one.interface for one in record.resources if isinstance(one, NeighProxy))
        if all(device == record.interface for device in proxies):
            mine = (one for one in record.resources if type(one) is Route)
            found += [one.prefix for one in mine if one.interface == record.interface]
    return found


def _bird() -> dict[int, set[str]]:
    """What BIRD exports by BGP but to guests, by address family; empty if it is not running, or has no such
    protocol.
    """
    rows = [line.split() for line in said("birdc", "show", "protocols").splitlines()]
    sessions = [row[0] for row in rows if row[1:2] == ["BGP"] and not row[0].startswith("snf_guest_")]
    shown = "\n".join(said("birdc", "show", "route", "export", name) for name in sessions)
    found = set(PREFIX.findall(shown))
    return {AF_INET: found, AF_INET6: found} if sessions else {}


def _frr(guests: Collection[str]) -> dict[int, set[str]]:
    """What FRR's BGP tells its peers but guests, by address family; without the families that none has."""
    found: dict[int, set[str]] = {}
    for family, number in (("ipv4", AF_INET), ("ipv6", AF_INET6)):
        known = _vtysh(f"show bgp {family} unicast summary json").get("peers", {})
        peers = [peer for peer in known if peer not in guests]
        shown = (f"show bgp {family} unicast neighbors {peer} advertised-routes json" for peer in peers)
        if peers:
            told = {prefix for words in shown for prefix in _vtysh(words).get("advertisedRoutes", {})}
            found[number] = told
    return found


def _vtysh(words: str) -> dict[str, Any]:
    """The answer of FRR, an object; empty if it is not running."""
    text = said("vtysh", "-c", words)
    answer: dict[str, Any] = json.loads(text) if text.lstrip().startswith("{") else {}
    return answer
