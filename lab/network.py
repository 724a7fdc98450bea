"""Machines and the cables between them: a router, nodes and guests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.machine import Machine


class Lab:
    """All machines of one test. Closing it ends them."""

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}

    def machine(self, name: str) -> Machine:
        """A new one."""
        self.machines[name] = Machine(name)
        return self.machines[name]

    def cable(self, one: Machine, device: str, other: Machine, far: str) -> None:
        """Join two machines by a veth pair; both ends are left down."""
        one.ip(f"link add {device} type veth peer name {far} netns {other.holder.pid}")

    def close(self) -> None:
        """End all machines."""
        for machine in self.machines.values():
            machine.close()

    def node(self, name: str, router: Machine, uplink: str = "eth1") -> Machine:
        """A Ganeti node: table 222 (snf_public) with its uplink to `router`, which has a bridge br0; and a
        private bridge prv0.
        """
        node = self.machine(name)
        self.networks(node, router, uplink)
        return node

    def networks(self, node: Machine, router: Machine, uplink: str = "eth1") -> None:
        """Make a machine one that is a node."""
        self.cable(router, node.name, node, uplink)
        router.ip(f"link set {node.name} master br0 up")
        node.ip(f"link set {uplink} up", "link add prv0 type bridge forward_delay 0", "link set prv0 up")
        node.write("/etc/iproute2/rt_tables.d/snf.conf", "222 snf_public\n")
        node.ip(
            f"route add 198.51.100.0/24 dev {uplink} table 222",
            f"route add default via 198.51.100.1 dev {uplink} table 222 onlink",
            f"-6 route add default via 2001:db8:1::1 dev {uplink} table 222 onlink",
            f"rule add iif {uplink} lookup 222",
            f"-6 rule add iif {uplink} lookup 222",
            f"route add 198.51.100.0/24 dev {uplink}",
            f"-6 route add 2001:db8:1::/64 dev {uplink}",
        )
        for family in ("ipv4/conf/all/rp_filter", f"ipv4/conf/{uplink}/rp_filter"):
            node.sysctl(f"net/{family}", 0)

    def router(self, name: str = "router") -> Machine:
        """The external gateway of the public network: 198.51.100.1 and 2001:db8:1::1 on its bridge br0."""
        router = self.machine(name)
        router.ip(
            "link add br0 type bridge forward_delay 0",
            "link set br0 up",
            "addr add 198.51.100.1/24 dev br0",
            "addr add 2001:db8:1::1/64 dev br0 nodad",
        )
        return router

    def guest(
        self, node: Machine, tap: str, mac: str, *addresses: str, gateway: str = "", gateway6: str = ""
    ) -> Machine:
        """A guest with a network stack: its eth0 is the far end of `tap`. Addresses as ip(8) takes them;
        configured, not announced.
        """
        guest = self.machine(f"guest-{tap}-{len(self.machines)}")
        self.cable(node, tap, guest, "eth0")
        guest.ip(
            f"link set eth0 address {mac}",
            "link set eth0 up",
            *(f"addr add {address} dev eth0{' nodad' if ':' in address else ''}" for address in addresses),
        )
        if gateway:
            guest.ip(f"route add default via {gateway} dev eth0 onlink")
        if gateway6:
            guest.ip(f"-6 route add default via {gateway6} dev eth0 onlink")
        return guest


@contextmanager
def laboratory() -> Iterator[Lab]:
    """A lab that is closed whatever happens."""
    made = Lab()
    try:
        yield made
    finally:
        made.close()
