"""A real BIND 9 in a namespace, with the zones and the key of these tests; what it has, and how to ask it."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import dns.zone

from snf_network.dns.registry import Registry
from snf_network.dns.spool import Spool
from snf_network.host.lock import Held
from snf_network.model.names import reverse
from tests.netns.lab import SCRIPTS, Lab, Machine, environment, until

ADDRESS, NODE_ADDRESS = "10.53.0.1", "10.53.0.2"
SECRET = "c25mLW5ldHdvcmsgdGVzdHMsIG5vYm9keSdzIHNlY3JldA=="
KEY = f'key "snf-network" {{ algorithm hmac-sha256; secret "{SECRET}"; }};\n'
FORWARD, REVERSE4, CLASSLESS = "example.com", "100.51.198.in-addr.arpa", "0-63.113.0.203.in-addr.arpa"
REVERSE6 = "1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
ZONES = (FORWARD, REVERSE4, CLASSLESS, REVERSE6)
PARENT = "113.0.203.in-addr.arpa"
OPTIONS = """
options {
	directory "/var/cache/bind"; listen-on { 10.53.0.1; }; listen-on-v6 { none; }; recursion no; dnssec-validation no;
	pid-file none; session-keyfile none; notify no; allow-transfer { 10.53.0.0/24; }; empty-zones-enable no;
	minimal-responses no; %s
};
controls { };
"""
ZONE = """$TTL 300
@ SOA ns.example.net. admin.example.net. 1 3600 600 86400 5
@ NS ns.example.net.
"""
CNAMES = "".join(f"{number} CNAME {number}.{CLASSLESS}.\n" for number in range(64))
NOISE = {"SOA", "NS"}
SWALLOW = "table inet swallow { chain input { type filter hook input priority 0; policy drop\n}\n}\n"


class NameServer:
    """BIND, in a machine that is joined to the node's by a cable."""

    def __init__(
        self, lab: Lab, node: Machine, policy: str = "allow-update { key snf-network; };", options: str = ""
    ) -> None:
        self.machine = lab.machine("ns")
        lab.cable(self.machine, "eth0", node, "eth-ns")
        self.machine.ip(f"addr add {ADDRESS}/24 dev eth0", "link set eth0 up")
        node.ip(f"addr add {NODE_ADDRESS}/24 dev eth-ns", "link set eth-ns up")
        self.machine.sysctl("net/ipv4/icmp_ratemask", 0)  # every packet that nobody listens for is told so
        self.process: subprocess.Popen[bytes] | None = None
        self.log = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would stop it
        self.machine.run("mkdir", "-p", "/var/cache/bind", "/etc/bind")
        self.zones: dict[str, str] = {}
        self.policy, self.options = policy, options
        self.reset()

    def reset(self) -> None:
        """Zones as they are before anybody has updated them."""
        self.zones.clear()
        for zone in (*ZONES, PARENT):
            self.zone(zone, ZONE + (CNAMES if zone == PARENT else ""), "" if zone == PARENT else self.policy)

    def zone(self, name: str, text: str, policy: str) -> None:
        """Have a zone from the next start on."""
        self.machine.write(f"/var/cache/bind/{name}", text)
        self.zones[name] = f'zone "{name}" {{ type primary; file "{name}"; {policy} }};\n'

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.machine.write(
            "/etc/bind/named.conf", KEY + OPTIONS % self.options + "".join(self.zones.values())
        )
        self.process = subprocess.Popen(
            self.machine.command("named", "-g", "-c", "/etc/bind/named.conf"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
        )
        assert until(self._answers, 15), f"named did not start: {self.said()}"

    def said(self) -> str:
        """All that it has logged."""
        self.log.seek(0)
        return self.log.read()

    def open(self) -> None:
        """Start it anew, so that it takes updates from the node's address without a key."""
        self.stop()
        policy, self.policy = self.policy, f"allow-update {{ {NODE_ADDRESS}; {ADDRESS}; key snf-network; }};"
        self.reset()
        self.policy = policy
        self.start()

    def stop(self) -> None:
        """End it; its journals stay."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(15)
            self.process = None

    def _answers(self) -> bool:
        try:
            return self.query(FORWARD, "SOA", timeout=0.1).rcode() == 0
        except OSError:
            return False
        except dns.exception.Timeout:
            return False

    def query(self, name: str, kind: str, timeout: float = 3) -> dns.message.Message:
        """Ask it, from its own machine."""
        with self.machine.inside():
            return dns.query.udp(dns.message.make_query(name, kind), ADDRESS, timeout=timeout)

    def content(self, zone: str) -> dict[str, set[str]]:
        """All of a zone but SOA and NS, by name within it: `TYPE data`."""
        found: dict[str, set[str]] = {}
        with self.machine.inside():
            copy = dns.zone.from_xfr(
                dns.query.xfr(ADDRESS, zone, timeout=5, relativize=False), relativize=False
            )
        for name, node in copy.nodes.items():
            for rdataset in node:
                kind = dns.rdatatype.to_text(rdataset.rdtype)
                if kind not in NOISE:
                    found.setdefault(
                        name.to_text(omit_final_dot=True).removesuffix(f".{zone}"), set()
                    ).update(f"{kind} {rdata.to_text()}" for rdata in rdataset)
        return found

    def names(self, zone: str) -> dict[str, set[str]]:
        """`content` without owner marks."""
        return {
            name: {record for record in records if not record.startswith("DHCID ")}
            for name, records in self.content(zone).items()
        }

    def serial(self, zone: str) -> int:
        """How often a zone has changed."""
        return int(self.query(zone, "SOA").answer[0][0].serial)

    def swallow(self, on: bool) -> None:
        """Have every packet that comes vanish, or end that."""
        self.machine.run("nft", "-f", "-", input=SWALLOW if on else "flush ruleset\n")

    def add(self, *lines: str) -> None:
        """Somebody else's update, e.g. `update add www.example.com 60 A 192.0.2.1`."""
        self.machine.write("/var/tmp/key", KEY)
        self.machine.run(
            "nsupdate", "-k", "/var/tmp/key", input="\n".join((f"server {ADDRESS}", *lines, "send\n"))
        )


def configure(node: Machine, *lines: str) -> None:
    """The node's settings: this server, the forward zone and the key."""
    node.write("/etc/bind/ddns.key", KEY)
    node.write("/etc/default/snf-network", "\n".join((*SETTINGS, *lines, "")))


SETTINGS = (f"SERVER={ADDRESS}", f"FZONE={FORWARD}", "KEYFILE=/etc/bind/ddns.key")
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
