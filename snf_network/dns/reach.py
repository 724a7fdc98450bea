"""Whether the name servers of this node answer."""

from __future__ import annotations

from collections.abc import Iterator

import dns.exception
import dns.name
import dns.rdatatype

from snf_network.dns import settings
from snf_network.dns.send import TRIES, Server
from snf_network.errors import BadConfig, SnfNetworkError
from snf_network.model.config import Config

SECONDS = 2.0
"""How long to wait for one server, with all tries."""


def silent_servers(config: Config) -> Iterator[tuple[str, str]]:
    """Each server that does not answer, and why. It is asked for the zone of the guests, unsigned: a refusal
    is an answer. Nothing if the settings are not valid, as check.complaints reports that.
    """
    try:
        said = settings.load(config)
        zone = dns.name.from_text(f"{said.zone}.")
    except (BadConfig, dns.exception.DNSException):
        return
    for host, port in dict.fromkeys(server for route in said.routes() for server in route.servers):
        server = Server(host, port, SECONDS / TRIES)
        try:
            server.ask([(zone, dns.rdatatype.SOA)])
        except SnfNetworkError as error:
            yield str(server), str(error)
