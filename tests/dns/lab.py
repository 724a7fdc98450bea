"""A node with the name server of the lab (lab/nameserver.py), and what its zones should have."""

from __future__ import annotations

import time
from collections.abc import Mapping

from lab.nameserver import (
    ADDRESS,
    CLASSLESS,
    FORWARD,
    KEY,
    NODE_ADDRESS,
    REVERSE4,
    REVERSE6,
    ZONE,
    ZONES,
    NameServer,
    configure,
)
from snf_network.dns.registry import Registry
from snf_network.dns.spool import Spool
from snf_network.host.lock import Held
from snf_network.model.names import reverse
from tests.netns.lab import SCRIPTS, Lab, Machine, environment, until

__all__ = ["ADDRESS", "FORWARD", "KEY", "NODE_ADDRESS", "REVERSE4", "ZONE", "NameServer", "configure"]

CLASSLESS_YAML = f"reverse:\n  203.0.113.0/26: {CLASSLESS}\n"
STATE = "/var/lib/snf-network"


class Place:
    """A node and its name server."""

    def __init__(self, lab: Lab, node: Machine, server: NameServer) -> None:
        self.lab, self.node, self.server = lab, node, server
        self.taps: set[str] = set()

    @property
    def state(self) -> str:
        """The node's state directory, as seen from here."""
        return f"/proc/{self.node.holder.pid}/root{STATE}"

    def tap(self, name: str) -> None:
        """Make a tap, or make it anew."""
        if name in self.taps:
            self.node.ip(f"link del {name}")
        self.node.ip(f"link add {name} type veth peer name g-{name}")
        self.taps.add(name)

    def up(self, env: Mapping[str, str], **changes: str) -> None:
        """A new tap and its ifup."""
        self.tap({**env, **changes}["INTERFACE"])
        self.node.up({**env, **changes})

    def hook(self, name: str, **changes: str) -> None:
        """snf-network-dnshook, in a recorded environment."""
        call(self.node, "node1", "snf-network-dnshook", environment(name, **changes))

    def settle(self) -> None:
        """Wait until a sender has done all that is due, and is gone."""
        spool, registry = Spool(self.state), Registry(self.state)

        def idle() -> bool:
            now = time.time()
            if any(registry.load(one.instance).due(one.serial, now) < now for one in spool):
                return False
            try:
                with spool.at_work():
                    return True
            except Held:
                return False

        assert until(idle, 20), self.node.read("/var/log/ganeti/snf-network.log")

    def content(self) -> dict[str, dict[str, set[str]]]:
        """All zones that are not empty, without owner marks, once nothing is due."""
        self.settle()
        return {zone: names for zone in ZONES if (names := self.server.names(zone))}

    def log(self) -> str:
        """The node's log."""
        return self.node.read("/var/log/ganeti/snf-network.log")

    def clean(self) -> None:
        """Empty zones, and a node that knows nothing."""
        self.server.stop()
        self.server.swallow(False)
        self.server.machine.run("sh", "-c", "rm -f /var/cache/bind/*.jnl /etc/bind/named.conf")
        self.server.reset()
        for tap in self.taps:
            self.node.ip(f"link del {tap}")
        self.taps.clear()
        self.node.run(
            "sh", "-c", "rm -rf /var/lib/snf-network /var/log/ganeti/* /etc/snf-network; nft flush ruleset"
        )


def call(node: Machine, name: str, program: str, env: Mapping[str, str]) -> None:
    """Run a script as Ganeti does, on a node with that name."""
    words = [f"{key}={value}" for key, value in env.items()]
    said = node.run(
        "unshare",
        "--uts",
        "sh",
        "-c",
        'hostname "$1"; shift; exec env -i "$@"',
        "sh",
        name,
        *words,
        SCRIPTS / program,
    )
    assert not said.stdout and "Traceback" not in said.stderr, said.stderr


def forward(instance: str, *addresses: str) -> dict[str, set[str]]:
    """What the forward zone has for an instance."""
    return {instance: {f"{'AAAA' if ':' in address else 'A'} {address}" for address in addresses}}


def registered(*instances: tuple[str, str, str]) -> dict[str, dict[str, set[str]]]:
    """All zones, where each instance has an IPv4 and an IPv6 address of the public network: name, last octet,
    EUI-64.
    """
    found: dict[str, dict[str, set[str]]] = {}
    for instance, octet, eui64 in instances:
        address = f"2001:db8:1:0:{eui64}"
        pointer = reverse(address).removesuffix(f".{REVERSE6}")
        found.setdefault(FORWARD, {}).update(forward(instance, f"198.51.100.{octet}", address))
        found.setdefault(REVERSE4, {})[octet] = {f"PTR {instance}.{FORWARD}."}
        found.setdefault(REVERSE6, {})[pointer] = {f"PTR {instance}.{FORWARD}."}
    return found
