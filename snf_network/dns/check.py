"""Problems with this node's DNS that can be found without asking a name server."""

from __future__ import annotations

from collections.abc import Iterator

from snf_network.dns import here, settings
from snf_network.dns.keys import read_key
from snf_network.dns.spool import Spool
from snf_network.errors import BadConfig
from snf_network.model.config import Config


def complaints(config: Config) -> Iterator[str]:
    """For `snf-network check`, if DNS is enabled: invalid settings and keys, and a stopped sender."""
    try:
        routes = settings.load(config).routes()
    except BadConfig as error:
        yield str(error)
        return
    for path in dict.fromkeys(route.key for route in routes if route.method == "bind9" and route.servers):
        try:
            read_key(path)
        except BadConfig as error:
            yield str(error)
    process = Spool(config.state_dir).sender()
    if process and here.is_stopped(process):
        yield f"the sender, process {process}, is stopped (snf-network dns flush ends it)"
