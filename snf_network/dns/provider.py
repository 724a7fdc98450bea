"""The name servers: which one has a name, its current records, sending changes, and meanings of refusals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.tsig
from dns.rcode import Rcode
from dns.rdatatype import CNAME, NS, SOA

from snf_network.dns import changes
from snf_network.dns.changes import Change, Current, Endpoint, Name, Rdata
from snf_network.dns.kerberos import KerberosServer
from snf_network.dns.keys import read_key
from snf_network.dns.send import NoAnswer, Question, Refused, Server
from snf_network.dns.settings import Route, Settings
from snf_network.errors import BadConfig, SnfNetworkError

BATCH = 150
"""Names in one UPDATE: it stays far below 64 KB, and a refused one needs few splits."""
UNMET = (Rcode.YXDOMAIN, Rcode.YXRRSET, Rcode.NXRRSET, Rcode.NXDOMAIN)
"""Response codes for an unmet prerequisite."""
SAID = (Rcode.NOERROR, Rcode.NXDOMAIN, Rcode.REFUSED, Rcode.NOTAUTH)
"""Response codes of a server that has understood and processed the query."""
Answers = Mapping[Question, dns.message.Message]
Failures = dict[Name, SnfNetworkError]
"""By name: Refused if permanent, NoAnswer if another try may succeed."""


class Place(NamedTuple):
    """The location of a name."""

    route: Route
    zone: Name
    server: Server
    """The server that was asked last."""


class Provider:
    """The name servers, for one pass: a server that does not answer is not asked again in the pass."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.silent: dict[tuple[str, int], NoAnswer] = {}
        self.places: dict[Name, Place] = {}

    def zone(self, name: Name) -> Name:
        """The zone of a name that was looked at; the root if the zone could not be found."""
        return self.places[name].zone if name in self.places else dns.name.root

    def doubt(self, name: Name) -> NoAnswer | None:
        """Why the records read may not be those of the route's first server; None if that one answered."""
        place = self.places.get(name)
        if not place or place.route.servers[0] == (place.server.host, place.server.port):
            return None
        first = place.route.servers[0]
        why = self.silent.get(first) or NoAnswer(f"{first[0]} fails")
        return NoAnswer(f"{place.server} was asked instead of {first[0]}, which comes first: {why.message}")

    def serials(self, zones: Iterable[Name]) -> dict[Name, int]:
        """The SOA serials of zones; zones whose servers do not answer are left out."""
        found: dict[Name, int] = {}
        for zone in zones:
            try:
                server = self._servers(self.settings.route(_text(zone)))[0]
                answer = server.ask([(zone, SOA)])[zone, SOA]
            except NoAnswer as error:
                self.silent.setdefault(self.settings.route(_text(zone)).servers[0], error)
                continue
            except SnfNetworkError:
                continue
            found.update({rrset.name: rrset[0].serial for rrset in answer.answer if rrset.rdtype == SOA})
        return found

    def look(self, endpoints: Iterable[Endpoint]) -> tuple[dict[Name, Current], Failures]:
        """The current records of these names, and the failures of the others."""
        found: dict[Name, Current] = {}
        failures: Failures = {}
        for route, group in self._by_route(endpoints).items():
            try:
                for server in self._servers(route):
                    left = [endpoint for endpoint in group if endpoint.name not in found]
                    self._look(route, server, left, found, failures)
            except SnfNetworkError as error:
                failures |= {endpoint.name: error for endpoint in group}
        return found, {name: error for name, error in failures.items() if name not in found}

    def send(self, wanted: Iterable[Change]) -> Failures:
        """Send changes of names that were looked at, as many as fit into one UPDATE of their zone; returns
        the failures.
        """
        failures: Failures = {}
        groups: dict[tuple[Route, Name, Server], list[Change]] = {}
        for change in wanted:
            groups.setdefault(self.places[change.endpoint.name], []).append(change)
        for (route, zone, server), group in groups.items():
            servers = self._from(route, server)
            sure = [change for change in group if not change.doubtful]
            batches = [sure[start : start + BATCH] for start in range(0, len(sure), BATCH)]
            for batch in (*batches, *([change] for change in group if change.doubtful)):
                failures |= self._send(servers, zone, batch)
        return failures

    # --- looking

    def _look(
        self,
        route: Route,
        server: Server,
        left: Sequence[Endpoint],
        found: dict[Name, Current],
        failures: Failures,
    ) -> None:
        """Ask one server for names that no earlier one had; names that fail are left to the next one."""
        if not left:
            return
        try:
            answers = server.ask([(endpoint.name, kind) for endpoint in left for kind in endpoint.types])
        except NoAnswer as error:
            self.silent[server.host, server.port] = error
            failures |= {endpoint.name: error for endpoint in left}
            return
        except Refused as error:
            failures |= {one.name: error for one in left if not isinstance(failures.get(one.name), NoAnswer)}
            return
        for endpoint in left:
            name = endpoint.name
            try:
                current = self._current(endpoint, answers, server)
                zone = self._zone(endpoint, answers, server, route)
            except SnfNetworkError as error:
                if not isinstance(failures.get(name), NoAnswer):  # a silent server may know better
                    failures[name] = error
            else:
                found[name], self.places[name] = current, Place(route, zone, server)

    def _current(self, endpoint: Endpoint, answers: Answers, server: Server) -> Current:
        """The records of a name in the answers. Raises NoAnswer or Refused."""
        records: set[Rdata] = set()
        marks: set[Rdata] = set()
        for kind in endpoint.types:
            answer = answers[endpoint.name, kind]
            _usable(answer, endpoint.name, server)
            for rrset in (rrset for rrset in answer.answer if rrset.name == endpoint.name):
                if rrset.rdtype == CNAME and endpoint.mark:
                    records.update(rrset)  # of the name or of a wildcard: only an update can tell
                elif rrset.rdtype == CNAME:
                    raise Refused(
                        f"{endpoint.name} is an alias of {rrset[0].to_text()}",
                        "name the classless reverse zone under `reverse` in dns.yaml",
                    )
                if rrset.rdtype == kind:
                    (marks if endpoint.mark and kind == endpoint.mark.rdtype else records).update(rrset)
        return Current(frozenset(records), frozenset(marks))

    def _zone(self, endpoint: Endpoint, answers: Answers, server: Server, route: Route) -> Name:
        """The zone's apex, from an answer if possible; else from SOA queries for the name and its parents.
        Raises NoAnswer or Refused.
        """
        name = endpoint.name
        if route.zone:
            return dns.name.from_text(route.zone)
        for kind in endpoint.types:
            answer = answers[name, kind]
            for rrset in (*answer.authority, *answer.answer):
                if rrset.rdtype in (SOA, NS) and name.is_subdomain(rrset.name):
                    return rrset.name
        parent = name
        while parent != dns.name.root:
            answer = server.ask([(parent, SOA)])[parent, SOA]
            for rrset in (*answer.answer, *answer.authority):
                if rrset.rdtype == SOA and name.is_subdomain(rrset.name):
                    return rrset.name
            parent = parent.parent()
        raise Refused(f"{server} has no zone for {name}")

    # --- servers

    def _by_route(self, endpoints: Iterable[Endpoint]) -> dict[Route, list[Endpoint]]:
        groups: dict[Route, list[Endpoint]] = {}
        for endpoint in endpoints:
            route = self.settings.route(_text(endpoint.name))
            groups.setdefault(route, []).append(endpoint)
        return groups

    def _servers(self, route: Route) -> list[Server]:
        """The servers of a route that may answer, in order. Raises NoAnswer or Refused if there is none."""
        if not route.servers or not route.method:
            raise Refused(
                "no name server is configured for it",
                "SERVER and AUTHENTICATION_METHOD, or servers in dns.yaml",
            )
        try:
            key = read_key(route.key) if route.method == "bind9" else None
        except BadConfig as error:
            raise Refused(error.message, error.hint) from error
        servers = [
            self._server(route, key, *address) for address in route.servers if address not in self.silent
        ]
        if not servers:
            raise self.silent[route.servers[-1]]
        return servers

    def _server(self, route: Route, key: dns.tsig.Key | None, host: str, port: int) -> Server:
        if route.method == "kerberos":
            return KerberosServer(host, port, self.settings)
        return Server(host, port, self.settings.timeout, key)

    def _from(self, route: Route, server: Server) -> list[Server]:
        """A server that has answered, then the later ones that may answer."""
        later = route.servers[route.servers.index((server.host, server.port)) + 1 :]
        if all(address in self.silent for address in later):
            return [server]
        return [server, *(one for one in self._servers(route) if (one.host, one.port) in later)]

    # --- sending

    def _send(self, servers: Sequence[Server], zone: Name, batch: Sequence[Change]) -> Failures:
        """Send a batch. A refused batch is split until each refused change is alone; if a server fails, the
        next one gets the batch.
        """
        server, *others = servers
        try:
            rcode = server.update(zone, batch)
        except SnfNetworkError as error:
            if others and isinstance(error, NoAnswer):
                return self._send(others, zone, batch)
            return {change.endpoint.name: error for change in batch}
        if rcode == Rcode.SERVFAIL and others:
            return self._send(others, zone, batch)
        if rcode == Rcode.NOERROR or (len(batch) == 1 and self._taken(server, zone, batch[0], rcode)):
            return {}
        if len(batch) > 1 and rcode not in (Rcode.NOTAUTH, Rcode.SERVFAIL, Rcode.NOTIMP):
            half = len(batch) // 2
            return self._send(servers, zone, batch[:half]) | self._send(servers, zone, batch[half:])
        return {change.endpoint.name: meaning(rcode, change, zone, server) for change in batch}

    def _taken(self, server: Server, zone: Name, change: Change, rcode: Rcode) -> bool:
        """True if an unmarked name is as desired although the prerequisites failed, because a wildcard had
        answered with the same records. Creates a free name that should have been adopted.
        """
        if rcode in UNMET and changes.is_of_wildcard(change):
            return True
        other = changes.taking(change)
        try:
            return rcode in UNMET and other is not None and server.update(zone, [other]) == Rcode.NOERROR
        except SnfNetworkError:
            return False


def _text(name: Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _usable(answer: dns.message.Message, name: Name, server: Server) -> None:
    """Raise NoAnswer if the server has failed, Refused if it does not have the name's zone."""
    rcode = answer.rcode()
    if rcode not in SAID:
        raise NoAnswer(f"{server}: {dns.rcode.to_text(rcode)} for {name}", "the server's log says why")
    if rcode in (Rcode.REFUSED, Rcode.NOTAUTH) or not answer.flags & dns.flags.AA:
        raise Refused(
            f"{server} has no zone for {name}",
            "make the zone there, or name the server of its zone in dns.yaml",
        )


def meaning(rcode: Rcode, change: Change, zone: Name, server: Server) -> SnfNetworkError:
    """A refusal for one name, in words: Refused if permanent, NoAnswer if another try may succeed."""
    name, text = change.endpoint.name, dns.rcode.to_text(rcode)
    if rcode in UNMET:
        if change.doubtful or not change.conditions:
            return Refused(
                f"{name} is somebody else's: it is in use, and without our owner mark",
                "snf-network dns audit",
            )
        return NoAnswer(f"{name} has changed while it was looked at")
    if rcode == Rcode.NOTIMP:
        return Refused(
            f"{server} takes no updates of {zone}: NOTIMP",
            "is it a secondary server? SERVER, or servers in dns.yaml",
        )
    if rcode == Rcode.SERVFAIL:
        return NoAnswer(f"{server} cannot update {zone} now: {text}", "the server's log says why")
    return Refused(
        f"{server} does not let us update {name} in {zone}: {text}",
        "the zone's update-policy or allow-update, and the key",
    )
