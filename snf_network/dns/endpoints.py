"""From instances to names: the forward and reverse records that each instance should have, and may have had.
Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass

from snf_network.dns import marks
from snf_network.dns.changes import Endpoint, Name, Rdata
from snf_network.dns.registry import Registered
from snf_network.dns.settings import Settings
from snf_network.dns.spool import FOREVER, Desired
from snf_network.model.names import forward

LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


@dataclass(frozen=True)
class Job:
    """One instance: its desired names and its registered records."""

    desired: Desired
    registered: Registered
    now: float = FOREVER
    """The time, in seconds since the epoch."""

    @property
    def stamp(self) -> int:
        """The time of new stamps, in microseconds since the epoch."""
        return int(min(self.desired.since, self.now) * 1e6)

    @property
    def before(self) -> int:
        """Other nodes' older stamps may be removed; none of them if this node's clock was ahead."""
        return int(self.desired.since * 1e6) if self.desired.since <= self.now else 0


@dataclass
class Claim:
    """The share of one instance in one name."""

    desired: set[Rdata] = field(default_factory=set)
    had: set[Rdata] = field(default_factory=set)
    """Records that may be there because of this instance."""
    kept: set[Rdata] = field(default_factory=set)
    """Records that another node is responsible for now."""
    mine: set[Rdata] = field(default_factory=set)
    """Stamps by this node."""
    network: str = ""
    whole: bool = False
    stamp: int = 0
    before: int = 0


Claims = dict[str, dict[str, Claim]]
"""By name, then by instance."""


def trouble_with(name: str) -> str:
    """Why a name is not a valid host name (RFC 1123, 2.1; RFC 1035, 2.3.4); empty if it is one."""
    if len(name) > 253:
        return f"the name has {len(name)} characters, and 253 is the most"
    for label in name.split("."):
        if len(label) > 63:
            return f"a part of the name has {len(label)} characters, and 63 is the most"
        if not LABEL.fullmatch(label):
            return f"{label!a} is no part of a host name: letters, digits, and - within"
    return ""


def record(kind: str, data: str) -> Rdata:
    """A record of class IN."""
    return dns.rdata.from_text(dns.rdataclass.IN, kind, data)


def address(text: str) -> Rdata:
    """An A or AAAA record."""
    return record("AAAA" if ":" in text else "A", text)


def pointer(name: str) -> Rdata:
    """A PTR record to a name."""
    return record("PTR", f"{name}.")


def is_of(name: str, instance: str) -> bool:
    """True if a name belongs to an instance, in any zone."""
    own = forward(instance, "")
    return name == own or name.startswith(f"{own}.")


def claim(claims: Claims, name: str, instance: str) -> Claim:
    """The claim of an instance to a name; makes it if there is none."""
    return claims.setdefault(name, {}).setdefault(instance, Claim())


def forward_claims(jobs: Iterable[Job], settings: Settings) -> Claims:
    """The claims of these instances to forward names. An instance whose desired state is whole also claims
    its name in the default zone.
    """
    claims: Claims = {}
    for job in jobs:
        for name, part in _forward_names(job, settings).items():
            claims.setdefault(name, {})[job.desired.instance] = part
    return claims


def _forward_names(job: Job, settings: Settings) -> dict[str, Claim]:
    desired, instance = job.desired, job.desired.instance

    def fresh() -> Claim:
        return Claim(whole=desired.whole, stamp=job.stamp, before=job.before)

    parts: defaultdict[str, Claim] = defaultdict(fresh)
    for names in desired.nics:
        mine = parts[settings.name(instance, names.network)]
        mine.network = names.network
        mine.desired.update(map(address, names.addresses))
    for names in desired.had:
        parts[settings.name(instance, names.network)].had.update(map(address, names.addresses))
    for names in (*desired.left, *desired.gone):
        parts[settings.name(instance, names.network)].kept.update(map(address, names.addresses))
    for name, kind, text in job.registered.records:
        if kind in ("A", "AAAA"):
            parts[name].had.add(record(kind, text))
        elif kind in ("DHCID", "TXT"):
            parts[name].mine.add(record(kind, text))
        elif is_of(text.rstrip("."), instance):
            parts.setdefault(text.rstrip("."), fresh())  # the desired PTR depends on what this name has now
    if desired.whole:
        parts[settings.name(instance, "")].whole = True
    return parts


def reverse_claims(
    jobs: Iterable[Job],
    forward: Claims,
    found: Mapping[str, Iterable[Rdata]],
    foreign: Container[str],
    settings: Settings,
) -> Claims:
    """The claims of these instances to the reverse names of all addresses that their forward names get, keep
    or, according to `found`, have had.

    A PTR to a `foreign` name is ours only if it is registered. Even then, an instance has no claim to a PTR
    that leads to another instance's name.
    """
    claims: Claims = {}
    for name, group in forward.items():
        if trouble_with(name):
            continue  # no PTR can lead there
        for instance, part in group.items():
            for data in {*part.desired, *part.had, *found.get(name, ())}:
                mine = claim(claims, settings.pointer(data.to_text()), instance)
                if name not in foreign:
                    mine.had.add(pointer(name))
                if data in part.desired:
                    mine.desired.add(pointer(name))
                    mine.network = part.network
    for job in jobs:
        for name, kind, text in job.registered.records:
            if kind == "PTR" and is_of(text.rstrip("."), job.desired.instance):
                claim(claims, name, job.desired.instance).had.add(record(kind, text))
    return claims


def forward_endpoint(name: str, instance: str, part: Claim, settings: Settings) -> Endpoint:
    """The endpoint of a forward name of `instance`. Raises dns.exception.DNSException if the name is not
    valid in DNS.
    """
    absolute = dns.name.from_text(f"{name}.")
    mark = marks.mark(absolute, owner(settings, instance), settings.mark)
    return Endpoint(
        absolute,
        frozenset(part.desired),
        frozenset(part.had),
        mark,
        part.whole,
        settings.ttl(name, part.network),
        kept=frozenset(part.kept),
        mine=frozenset(part.mine),
        stamp=part.stamp,
        before=part.before,
    )


def reverse_endpoint(
    name: str,
    group: Mapping[str, Claim],
    kept: frozenset[Rdata],
    implied: frozenset[Rdata],
    settings: Settings,
) -> Endpoint:
    """The endpoint of a reverse name, for all instances with a claim to it; at most one of them desires a
    record. Raises dns.exception.DNSException if the name is not valid in DNS.
    """
    desired = frozenset(data for part in group.values() for data in part.desired)
    had = frozenset(data for part in group.values() for data in part.had)
    network = next((part.network for part in group.values() if part.desired), "")
    absolute = dns.name.from_text(f"{name}.")
    ttl = settings.ttl(name, network)
    return Endpoint(absolute, desired - kept, had, None, False, ttl, kept, implied & had)


def owner(settings: Settings, instance: str) -> str:
    """The owner in the marks of an instance: the same on each node of the cluster."""
    return f"{settings.owner}/{instance}"


def of_this_cluster(name: Name, found: frozenset[Rdata], settings: Settings) -> bool:
    """True if a forward name has the mark of the instance of this cluster that has this name."""
    text = name.to_text(omit_final_dot=True).lower()
    zones = (settings.zone, *settings.zones, *(zone for zone, _ in settings.networks.values() if zone))
    instances = {text, *(text.removesuffix(f".{zone}") for zone in zones)}
    try:
        return any(
            marks.mark(name, owner(settings, instance), settings.mark) in found for instance in instances
        )
    except dns.exception.DNSException:
        return False
