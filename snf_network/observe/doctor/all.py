"""All checks, in the order in which they are run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snf_network.errors import SnfNetworkError
from snf_network.observe.doctor import (
    bridges,
    clock,
    fabric,
    files,
    ganeti,
    leftovers,
    neighbours,
    routing,
    rules,
    services,
)
from snf_network.observe.doctor.finding import UNKNOWN, Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from snf_network.observe.doctor.look import Look

    Check = Callable[[Look], Iterator[Finding]]

CHECKS: dict[str, Check] = {
    "our rules": rules.our_rules,
    "chains of others": rules.closed_chains,
    "policy rules of others": rules.rules_before,
    "br_netfilter": rules.bridge_netfilter,
    "marks of others": rules.marks,
    "default routes": routing.default_routes,
    "neighbours": routing.neighbours,
    "forwarding": routing.forwarding,
    "rp_filter": routing.reverse_path,
    "router advertisements": routing.router_advertisements,
    "proxy NDP": routing.proxies,
    "BGP": fabric.exports,
    "BGP with guests": fabric.sessions,
    "bridges": bridges.missing,
    "default VLANs": bridges.default_vlan,
    "MTUs": bridges.sizes,
    "MTU for IPv6": bridges.too_small,
    "systemd-networkd": neighbours.networkd,
    "NetworkManager": neighbours.network_manager,
    "nftables.service": neighbours.nftables,
    "Ganeti's scripts": ganeti.scripts,
    "Ganeti's hooks": ganeti.hooks,
    "Ganeti's NICs": ganeti.nics,
    "units": services.services,
    "paths of units": services.paths,
    "STATE_DIR": files.state,
    "NFDHCPD_STATE_DIR": files.bindings,
    "LOGFILE": files.log,
    "clock": clock.clock,
    "rules of the bash package": leftovers.rules,
    "chains of the bash package": leftovers.chains,
    "policy rules of the bash package": leftovers.policy_rules,
    "files of the bash package": leftovers.files,
}


def found(name: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What a check finds. One that cannot look is a finding itself, and keeps no other from looking: a tool
    may fail, or a later version of it may answer in another form.
    """
    try:
        return list(check())
    except (SnfNetworkError, OSError, LookupError, TypeError, ValueError) as error:
        why = str(error) if isinstance(error, (SnfNetworkError, OSError)) else repr(error)
        return [Finding(UNKNOWN, name, f"cannot look at this: {why}", "snf-network check shows more")]
