"""Who is asked and told about a name: its server, its zone, what is there, and what a refusal means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import dns.flags
import dns.message
import dns.name
import dns.rcode
from dns.rcode import Rcode
from dns.rdatatype import CNAME, NS, SOA

from snf_network.dns import changes
from snf_network.dns.changes import Change, Name, Present, Rdata, Target
from snf_network.dns.kerberos import KerberosServer
from snf_network.dns.keys import read_key
from snf_network.dns.send import NoAnswer, Question, Refused, Server
from snf_network.dns.settings import Route, Settings
from snf_network.errors import BadConfig, SnfNetworkError

BATCH = 150
"""Names in one UPDATE: it stays far below 64 KB, and a refused one is split soon."""
UNMET = (Rcode.YXDOMAIN, Rcode.YXRRSET, Rcode.NXRRSET, Rcode.NXDOMAIN)
"""What a server says to a prerequisite that is not so."""
SAID = (Rcode.NOERROR, Rcode.NXDOMAIN, Rcode.REFUSED, Rcode.NOTAUTH)
"""What a server says to a question that it has understood, and has not failed to answer."""
Answers = Mapping[Question, dns.message.Message]


class Authority:
    """The servers, for one pass: one that is silent is not asked again in it. What went wrong stands in
    `failed`, by name.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.failed: dict[Name, SnfNetworkError] = {}
        self.silent: dict[tuple[str, int], NoAnswer] = {}
        self.zones: dict[Name, Name] = {}

    def look(self, targets: Iterable[Target]) -> dict[Name, Present]:
        """What is at the names of the targets; those that could not be looked at are in `failed`."""
        found: dict[Name, Present] = {}
        for route, group in self._by_route(targets).items():
            try:
                server, answers = self._ask(
                    route, [(target.name, kind) for target in group for kind in target.types]
                )
            except SnfNetworkError as error:
                self.failed |= {target.name: error for target in group}
                continue
            for target in group:
                try:
                    found[target.name] = self._present(target, answers, server, route)
                except SnfNetworkError as error:
                    self.failed[target.name] = error
        return found

    def commit(self, wanted: Iterable[Change]) -> None:
        """Send the changes, as many as can be in one UPDATE of their zone."""
        groups: dict[tuple[Route, Name], list[Change]] = {}
        for change in wanted:
            name = change.target.name
            groups.setdefault((self._route(name), self.zones[name]), []).append(change)
        for (route, zone), group in groups.items():
            sure = [change for change in group if not change.doubtful]
            batches = [sure[start : start + BATCH] for start in range(0, len(sure), BATCH)]
            for batch in (*batches, *([change] for change in group if change.doubtful)):
                self._send(route, zone, batch)

    def _send(self, route: Route, zone: Name, batch: Sequence[Change]) -> None:
        """A batch that is refused is split, until what is refused stands alone."""
        try:
            server = next(self._servers(route))
            rcode = server.update(zone, batch)
        except SnfNetworkError as error:
            self.failed |= {change.target.name: error for change in batch}
            return
        if rcode == Rcode.NOERROR or (
            len(batch) == 1 and self._sent_otherwise(server, zone, batch[0], rcode)
        ):
            return
        if len(batch) > 1 and rcode not in (Rcode.NOTAUTH, Rcode.SERVFAIL, Rcode.NOTIMP):
            half = len(batch) // 2
            self._send(route, zone, batch[:half])
            self._send(route, zone, batch[half:])
        else:
            self.failed |= {change.target.name: meaning(rcode, change, zone, server) for change in batch}

    def _sent_otherwise(self, server: Server, zone: Name, change: Change, rcode: Rcode) -> bool:
        """A name that was to be adopted may be free, and a wildcard have answered for it with just the same
        records: then it is taken.
        """
        other = changes.anew(change)
        try:
            return rcode in UNMET and other is not None and server.update(zone, [other]) == Rcode.NOERROR
        except SnfNetworkError:
            return False

    def _by_route(self, targets: Iterable[Target]) -> dict[Route, list[Target]]:
        groups: dict[Route, list[Target]] = {}
        for target in targets:
            groups.setdefault(self._route(target.name), []).append(target)
        return groups

    def _route(self, name: Name) -> Route:
        return self.settings.route(name.to_text(omit_final_dot=True).lower())

    def _servers(self, route: Route) -> Iterator[Server]:
        """The servers of a route that are not silent. Raises NoAnswer or Refused if there is none."""
        if not route.servers or not route.method:
            raise Refused(
                "no name server is configured for it",
                "SERVER and AUTHENTICATION_METHOD, or servers in dns.yaml",
            )
        try:
            key = read_key(route.key) if route.method == "bind9" else None
        except BadConfig as error:
            raise Refused(error.message, error.hint) from error
        for host, port in route.servers:
            if (host, port) not in self.silent:
                if route.method == "kerberos":
                    yield KerberosServer(host, port, self.settings)
                else:
                    yield Server(host, port, self.settings.timeout, key)
        raise self.silent[route.servers[-1]]

    def _ask(self, route: Route, questions: Sequence[Question]) -> tuple[Server, Answers]:
        for server in self._servers(route):
            try:
                answers = server.ask(questions)
                broken = len(route.servers) > 1 and [
                    answer for answer in answers.values() if answer.rcode() not in SAID
                ]
                if not broken or len(broken) < len(answers):
                    return server, answers
                raise NoAnswer(
                    f"{server}: {dns.rcode.to_text(broken[0].rcode())}", "the server's log says why"
                )
            except NoAnswer as error:
                self.silent[server.host, server.port] = error
        raise AssertionError("_servers ends by raising")

    def _present(self, target: Target, answers: Answers, server: Server, route: Route) -> Present:
        records: set[Rdata] = set()
        marks: set[Rdata] = set()
        for kind in target.types:
            answer = answers[target.name, kind]
            self._usable(answer, target.name, server)
            for rrset in (rrset for rrset in answer.answer if rrset.name == target.name):
                if (
                    rrset.rdtype == CNAME and target.mark
                ):  # of the name, or of a wildcard: only an update finds out
                    records.update(rrset)
                elif rrset.rdtype == CNAME:
                    raise Refused(
                        f"{target.name} is an alias of {rrset[0].to_text()}",
                        "a classless reverse zone stands under `reverse` in dns.yaml",
                    )
                if rrset.rdtype == kind:
                    (marks if target.mark and kind == target.mark.rdtype else records).update(rrset)
        self.zones[target.name] = (
            dns.name.from_text(route.zone)
            if route.zone
            else self._zone(target.name, [answers[target.name, kind] for kind in target.types], route)
        )
        return Present(frozenset(records), frozenset(marks))

    def _usable(self, answer: dns.message.Message, name: Name, server: Server) -> None:
        rcode = answer.rcode()
        if rcode not in SAID:
            raise NoAnswer(f"{server}: {dns.rcode.to_text(rcode)} for {name}")
        if rcode in (Rcode.REFUSED, Rcode.NOTAUTH) or not answer.flags & dns.flags.AA:
            raise Refused(
                f"{server} has no zone for {name}",
                "make the zone there, or name the server of its zone in dns.yaml",
            )

    def _zone(self, name: Name, answers: Iterable[dns.message.Message], route: Route) -> Name:
        """The apex, which an answer tells beside; else the server is asked for SOA records, up from the name.
        Raises Refused.
        """
        for answer in answers:
            for rrset in (*answer.authority, *answer.answer):
                if rrset.rdtype in (SOA, NS) and name.is_subdomain(rrset.name):
                    return rrset.name
        parent = name
        while parent != dns.name.root:
            found = self._ask(route, [(parent, SOA)])[1]
            for rrset in (*found[parent, SOA].answer, *found[parent, SOA].authority):
                if rrset.rdtype == SOA and name.is_subdomain(rrset.name):
                    return rrset.name
            parent = parent.parent()
        raise Refused(f"{route.servers[0][0]} has no zone for {name}")


def meaning(rcode: Rcode, change: Change, zone: Name, server: Server) -> SnfNetworkError:
    """A refusal of one name, in words: Refused if it stays, NoAnswer if another try may do."""
    name, text = change.target.name, dns.rcode.to_text(rcode)
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
