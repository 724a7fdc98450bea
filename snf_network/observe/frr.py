"""What the running FRR knows of VNIs, as vtysh tells: never what is in its files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from snf_network.host.frr import Unanswered, vtysh
from snf_network.lean import dataclass
from snf_network.observe.readback import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

ESTABLISHED = "Established"


@dataclass(frozen=True)
class Bgpd:
    """What bgpd says."""

    number: str
    """Its AS; empty if it has none."""
    sessions: Mapping[str, str]
    """The state of each neighbour of EVPN."""
    tells: bool
    """It advertises VNIs at all: advertise-all-vni."""
    advertised: frozenset[str]
    """The VNIs that it knows."""


@dataclass(frozen=True)
class Zebra:
    """What zebra says."""

    nodes: Mapping[str, frozenset[str]]
    """The other nodes of each VNI that it knows."""


def ask_bgpd() -> Bgpd:
    """Raises Unanswered."""
    questions = "show bgp l2vpn evpn summary json", "show bgp l2vpn evpn vni json"
    try:
        said = [one for one in _asked("bgpd", questions) if isinstance(one, dict)]
        summary = next((one for one in said if "peers" in one or "as" in one), {})
        states = {name: str(peer.get("state", "")) for name, peer in summary.get("peers", {}).items()}
        tells = any(one.get("advertiseAllVnis") == "Enabled" for one in said)
        vnis = (
            name for one in said for name, value in one.items() if isinstance(value, dict) and name.isdigit()
        )
        return Bgpd(str(summary.get("as", "")), states, tells, frozenset(vnis))
    except UNREADABLE as error:
        raise Unanswered("bgpd answers what cannot be read") from error


def ask_zebra() -> Zebra:
    """Raises Unanswered."""
    try:
        found = [entry for said in _asked("zebra", ("show evpn vni detail json",)) for entry in said]
        return Zebra({str(entry["vni"]): frozenset(_remote(entry)) for entry in found if entry})
    except UNREADABLE as error:
        raise Unanswered("zebra answers what cannot be read") from error


def _remote(entry: dict[str, Any]) -> Iterator[str]:
    """The nodes of a VNI. FRR 8.4 lists them under a name that says a number."""
    for key in ("numRemoteVteps", "remoteVteps"):
        found = entry.get(key)
        for one in found if isinstance(found, list) else ():
            yield str(one.get("ip", one.get("remoteVtep", ""))) if isinstance(one, dict) else str(one)


def _asked(daemon: str, questions: Iterable[str]) -> list[Any]:
    """The JSON answers of one daemon. Raises Unanswered, ValueError."""
    return list(_decoded(vtysh(daemon, questions)))


def _decoded(said: str) -> Iterator[Any]:
    """Each object or list in a text, which may have words between them."""
    decoder, place = json.JSONDecoder(), 0
    while starts := [found for found in (said.find("{", place), said.find("[", place)) if found >= 0]:
        value, place = decoder.raw_decode(said, min(starts))
        yield value
