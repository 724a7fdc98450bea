"""Overlays of engine evpn, for subcommands: their lines for FRR, what the running FRR lacks, and entries of
ours while it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from snf_network.host.frr import Unanswered
from snf_network.host.record import Record
from snf_network.model.networks import Evpn, Networks, Overlay, Site
from snf_network.model.networks.change import Change
from snf_network.model.resources import Resource
from snf_network.model.resources.frr import ByFrr
from snf_network.model.resources.underlay import Flood
from snf_network.networks import EVPN, FRR_CONF
from snf_network.networks import evpn as engine
from snf_network.observe import networks
from snf_network.observe.fallback import with_fallback
from snf_network.observe.frr import ESTABLISHED, Bgpd, Zebra, ask_bgpd, ask_zebra

READ_AGAIN = (
    f"{FRR_CONF} has changed: `vtysh -b` adds it to the running FRR; `systemctl reload frr` also takes out"
    " what the file has not, such as what was typed and not written"
)
MISSING = "FRR is not installed"
PLAN = "snf-network net plan --frr"
FALLBACK = "until then, on all nodes: snf-network repair --fallback"
HINTS = {
    MISSING: "apt install frr",
    "bgpd does not run": "bgpd=yes in /etc/frr/daemons, systemctl restart frr",
    "zebra does not run": "systemctl restart frr",
}


class Asking:
    """What zebra says: it is asked once, when that first matters."""

    @cached_property
    def _answer(self) -> Zebra | Unanswered:
        try:
            return ask_zebra()
        except Unanswered as error:
            return error

    def zebra(self) -> Zebra:
        """Raises Unanswered."""
        if isinstance(self._answer, Unanswered):
            raise self._answer
        return self._answer

    def nodes(self) -> Mapping[str, frozenset[str]]:
        """The nodes of each VNI that FRR has: none if it does not say so."""
        return {} if isinstance(self._answer, Unanswered) else self._answer.nodes


def lines(networks: Networks, site: Site) -> list[str]:
    """The lines for FRR; none without an overlay of engine evpn."""
    return list(engine.lines(networks.evpn, site)) if networks.evpn else []


def ups(
    wanted: Mapping[str, Sequence[Resource]],
    known: Mapping[str, Record],
    fallback: bool = False,
    frr: Asking | None = None,
) -> list[Change]:
    """What has to be done for these networks. Entries of ours that stand for what FRR lacks stay until it has
    them; with `fallback`, they are put there.
    """
    found, given = with_fallback(wanted, known, (frr or Asking()).nodes, fallback)
    return networks.ups(found, known, given)


def complaints(
    networks: Networks, site: Site, known: Mapping[str, Record], frr: Asking
) -> Iterator[tuple[str, str]]:
    """Network and description of each thing that the running FRR lacks, and of each entry of ours that stands
    for it.
    """
    up = [one for one in networks.networks if isinstance(one, Overlay) and one.name in known]
    if networks.evpn and up:
        told = list(_daemons(networks.evpn, site, up, frr))
        yield from told[:1] if told and MISSING in told[0][1] else told
        yield from _entries(known)


def _daemons(evpn: Evpn, site: Site, up: Sequence[Overlay], frr: Asking) -> Iterator[tuple[str, str]]:
    bgpd = None
    try:
        bgpd = ask_bgpd()
        yield from ((EVPN, words) for words in _sessions(bgpd, evpn, site))
    except Unanswered as error:
        yield EVPN, f"{error}: guests here are cut off from other nodes ({_hint(error)}; {FALLBACK})"
    try:
        zebra = frr.zebra()
    except Unanswered as error:
        yield EVPN, f"{error}: entries stay as they are, and nothing new is learned ({_hint(error)})"
    else:
        yield from _vnis(bgpd, zebra, site, up) if bgpd else ()


def _hint(error: Unanswered) -> str:
    return HINTS.get(str(error), "systemctl status frr")


def _sessions(bgpd: Bgpd, evpn: Evpn, site: Site) -> Iterator[str]:
    if bgpd.number not in ("", str(evpn.number)):
        yield f"bgpd has AS {bgpd.number[:20]}, and evpn.as is {evpn.number} ({PLAN})"
    for one in engine.neighbours(evpn, site):
        state = bgpd.sessions.get(one)
        if state is None:
            yield f"bgpd has no EVPN neighbour {one} ({PLAN})"
        elif state != ESTABLISHED:
            yield f"session with {one} is down: {state[:20]!a} (is FRR up there? {FALLBACK})"


def _vnis(bgpd: Bgpd, zebra: Zebra, site: Site, up: Sequence[Overlay]) -> Iterator[tuple[str, str]]:
    """What the daemons know of VNIs. Of other nodes only if any is heard."""
    if not bgpd.tells:
        yield EVPN, f"bgpd advertises no VNI: advertise-all-vni is not there ({PLAN})"
        return
    yield from _lacking(up, zebra.nodes, "zebra does not know")
    unknown = {str(vni) for one in up for vni in one.vnis} - zebra.nodes.keys()
    yield from _lacking(up, bgpd.advertised | unknown, "bgpd does not advertise")
    for address in site.others if ESTABLISHED in bgpd.sessions.values() else ():
        without = [str(vni) for one in up for vni in one.vnis if address not in zebra.nodes.get(str(vni), ())]
        if without:
            words = f"{address} advertises no {_some(without)}"
            yield EVPN, f"{words} (there: snf-network check; {FALLBACK})"


def _lacking(
    up: Sequence[Overlay], has: Mapping[str, object] | frozenset[str], who: str
) -> Iterator[tuple[str, str]]:
    for one in up:
        without = [str(vni) for vni in one.vnis if str(vni) not in has]
        if without:
            yield one.name, f"{who} {_some(without)} (vtysh -c 'show evpn vni', systemctl status frr)"


def _some(vnis: Sequence[str]) -> str:
    more = f" and {len(vnis) - 3} more" if len(vnis) > 3 else ""
    return f"VNI {', '.join(vnis[:3])}{more}"


def _entries(known: Mapping[str, Record]) -> Iterator[tuple[str, str]]:
    """Entries of ours in place of FRR's."""
    for name, record in known.items():
        marked = {one.interface for one in record.resources if isinstance(one, ByFrr)}
        floods = [one for one in record.resources if isinstance(one, Flood) and one.interface in marked]
        if floods:
            nodes = ", ".join(dict.fromkeys(one.address for one in floods))
            yield (
                name,
                f"fallback: entries of ours for {nodes} (snf-network repair ends it when FRR has them)",
            )
