"""An uplink that is a bond: when another port of it takes over, the watch announces the guests behind it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.netns import frames as f
from tests.netns.lab import Ear, Lab, Machine, environment
from tests.netns.watching import Watching, own_run
from tests.qemu.taps import loaded

pytestmark = pytest.mark.vm()
ENV = environment("add-routed-ifup-1")
IP = ENV["IP"]
GATEWAY = "198.51.100.1"


class Site(NamedTuple):
    """A router with a bridge, and a node that has two cables to it, in one bond; table 222 leads there."""

    router: Machine
    node: Machine
    watching: Watching


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    subprocess.run(("modprobe", "bonding", "max_bonds=0"), check=True, timeout=60)
    with closing(Lab()) as lab:
        router, node = lab.router(), own_run(lab.machine("node1"))
        node.ip("link add bond0 type bond mode active-backup miimon 100")
        for name in ("eth1", "eth2"):
            lab.cable(router, f"to-{name}", node, name)
            router.ip(f"link set to-{name} master br0 up")
            node.ip(f"link set {name} master bond0")
        node.write("/etc/iproute2/rt_tables.d/snf.conf", "222 snf_public\n")
        node.ip(
            "link set bond0 type bond active_slave eth1",
            "link set bond0 up",
            f"route add default via {GATEWAY} dev bond0 table 222 onlink",
            "rule add iif bond0 lookup 222",
        )
        lab.guest(node, "tap0", ENV["MAC"], f"{IP}/24", gateway=GATEWAY)
        assert loaded(node)
        node.up(ENV)
        watching = Watching(node)
        yield Site(router, node, watching)
        assert watching.end() == ""


def announced(ear: Ear) -> bool:
    mine = f.octets(IP)
    return bool(ear.first(lambda data: data[12:14] == b"\x08\x06" and data[28:32] == mine == data[38:42], 10))


def test_the_admin_makes_another_port_active(site: Site) -> None:
    """No carrier is lost: the bond says only which port is active."""
    ear = Ear(site.router, "to-eth2")
    site.node.ip("link set bond0 type bond active_slave eth2")
    assert announced(ear), site.watching.said()
    ear.socket.close()


def test_the_active_port_loses_its_carrier(site: Site) -> None:
    ear = Ear(site.router, "to-eth1")
    site.router.ip("link set to-eth2 down")
    assert announced(ear), site.watching.said()
    ear.socket.close()
    assert any("bond0 has a carrier: announcing the NICs behind it" in line for line in site.watching.said())
