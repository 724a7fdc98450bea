"""A node that the bash package has set up is taken over under running guests, by `snf-network adopt`.

The node is prepared with the commands that the bash package (0.16.1) runs, by either backend of iptables.
ebtables and arptables are those of nft: this kernel has no ebtables-legacy.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from snf_network.model.nic import VARIABLES, Nic
from tests.netns.lab import SCRIPTS, Ear, Lab, Machine, environment, until, without_rules
from tests.netns.traffic import FORGED, PERIOD, SPACING, Forger, Pings

NICS = 3
"""Routed NICs, and as many filtered ones."""
MANY = 20
STATE, BINDINGS = "/var/lib/snf-network", "/var/lib/nfdhcpd"
GATEWAY, GATEWAY6, TAP_MAC, UPLINK = "198.51.100.1", "2001:db8:1::1", "cc:47:52:4e:45:54", "eth1"
NODE_IP, BRIDGE_MAC = "203.0.113.250", "aa:55:60:00:00:01"
BACKENDS = ("nft", "legacy")
SAVES = [
    f"{tool}-{backend}-save"
    for tool in ("iptables", "ip6tables", "arptables", "ebtables")
    for backend in BACKENDS
]
Environment = dict[str, str]


def routed(number: int) -> Environment:
    return environment(
        "add-routed-ifup-1",
        INTERFACE=f"tap{number}",
        INSTANCE=f"inst{number}.example.com",
        INTERFACE_UUID=f"uuid{number}",
        IP=f"198.51.100.{100 + number}",
        MAC=f"aa:00:00:00:01:{number:02x}",
        TAGS="synnefo:network:0:protected" if number % 2 else "",
    )


def filtered(number: int) -> Environment:
    return environment(
        "add-bridged-ifup-1",
        INTERFACE=f"tap{number}",
        INSTANCE=f"inst{number}.example.com",
        INTERFACE_UUID=f"uuid{number}",
        IP=f"203.0.113.{100 + number}",
        MAC=f"aa:55:60:00:01:{number:02x}",
        TAGS="synnefo:network:0:protected" if number % 2 else "",
    )


def ip6(env: Environment) -> str:
    return Nic.from_env(env).ip6


ROUTED = """
ip link set {tap} addr {tap_mac} up
arptables -A OUTPUT -o {tap} --opcode request -j mangle --mangle-ip-s {gateway}
ip rule add dev {tap} table {table}
ip route replace {ip} proto static dev {tap} table {table}
iptables-{backend} -A FORWARD -i {tap} ! -s {ip} -j DROP -m comment --comment snf-network_routed
echo 1 > /proc/sys/net/ipv4/conf/{tap}/proxy_arp
ip -6 rule add dev {tap} table {table}
ip -6 ro replace {eui64}/128 dev {tap} table {table}
ip -6 neigh add proxy {eui64} dev {uplink}
echo 0 > /proc/sys/net/ipv6/conf/{tap}/proxy_ndp
ip6tables-{backend} -A FORWARD -i {tap} ! -s {eui64} -j DROP -m comment --comment snf-network_routed
"""
FILTERED = """
ip link set {tap} up
ip link set {tap} master {bridge}
ebtables -N FROM{TAP} -P RETURN
ebtables -A FORWARD -i {tap} -j FROM{TAP}
ebtables -A INPUT -i {tap} -j FROM{TAP}
ebtables -N TO{TAP} -P RETURN
ebtables -A FORWARD -o {tap} -j TO{TAP}
ebtables -A OUTPUT -o {tap} -j TO{TAP}
ebtables -A FROM{TAP} -s ! {mac} -j DROP
ebtables -A TO{TAP} -s ! {mac}/ff:ff:f0:00:00:00 -j DROP
"""
PROFILE = """
iptables-{backend} -A FORWARD {out} {tap} -j {profile} -m comment --comment snf-network_firewall
ip6tables-{backend} -A FORWARD {out} {tap} -j {profile} -m comment --comment snf-network_firewall
"""
FERM = """
for tool in iptables-{backend} ip6tables-{backend}; do
    $tool -N protected
    $tool -A protected -p tcp --syn -j DROP
    $tool -A FORWARD -p tcp --dport 9999 -j ACCEPT
done
for key in ipv4/conf/{uplink}/proxy_arp ipv6/conf/{uplink}/proxy_ndp ipv4/ip_forward ipv6/conf/all/forwarding; do
    echo 1 > /proc/sys/net/$key
done
arptables -A OUTPUT -o {uplink} --opcode request -j mangle --mangle-ip-s 198.51.100.254
"""
"""What is there once: the profiles, a rule of the admin, and what an interface stanza gives the uplink."""


def old_up(node: Machine, env: Environment, backend: str) -> None:
    """What the bash package's ifup does."""
    nic = Nic.from_env(env)
    lines = ROUTED if nic.mode == "routed" else FILTERED
    profile = nic.tags[0].rpartition(":")[2] if nic.tags else ""
    words = {
        **{"tap": nic.interface, "TAP": nic.interface.upper(), "tap_mac": TAP_MAC, "gateway": GATEWAY},
        **{"table": nic.link, "bridge": nic.link, "ip": nic.ip, "eui64": nic.ip6, "mac": nic.mac},
        **{"uplink": UPLINK, "backend": backend, "profile": profile},
        "out": "-o" if nic.mode == "routed" else "-m physdev --physdev-out",
    }
    commands = (lines + (PROFILE if profile else "")).format(**words)
    node.run("sh", "-ec", commands)
    quoted = {"TAGS", "NETWORK_TAGS"}
    text = "".join(
        f'{name}="{env[name]}"\n' if name in quoted else f"{name}={env[name]}\n"
        for name in VARIABLES
        if name in env
    )
    node.write(f"{STATE}/{nic.interface}-env", f"{text}EUI64={nic.ip6}\n")
    node.write(f"{STATE}/{nic.interface}-cmds", commands)
    binding = f'INDEV={nic.interface}\nIP={nic.ip}\nMAC={nic.mac}\nHOSTNAME={nic.instance}\nTAGS=""\n'
    node.write(f"{BINDINGS}/{nic.interface}", binding)


class Place:
    """A node of the bash package, with guests that know their gateway."""

    def __init__(self, lab: Lab, backend: str, nics: int = NICS) -> None:
        self.backend = backend
        self.router, self.routed, self.filtered = lab.router(), list(map(routed, range(nics))), []
        self.filtered = [filtered(number) for number in range(nics, 2 * nics)]
        self.node = lab.node("node1", self.router)
        self.node.run("sh", "-ec", FERM.format(backend=backend, uplink=UPLINK))
        self.guests = [self._guest(lab, env) for env in (*self.routed, *self.filtered)]
        for env in (*self.routed, *self.filtered):
            old_up(self.node, env, backend)
        for _, source, address in self.ways():
            assert until(lambda source=source, address=address: source.ping(address), 10), address

    def _guest(self, lab: Lab, env: Environment) -> Machine:
        tap, mac = env["INTERFACE"], env["MAC"]
        if env["MODE"] == "bridged":
            return lab.guest(self.node, tap, mac, f"{env['IP']}/24")
        guest = lab.guest(
            self.node, tap, mac, f"{env['IP']}/24", f"{ip6(env)}/64", gateway=GATEWAY, gateway6=GATEWAY6
        )
        guest.ip(f"neigh add {GATEWAY6} lladdr {TAP_MAC} dev eth0 nud permanent")  # nfdhcpd would tell
        return guest

    def ways(self) -> Iterator[tuple[str, Machine, str]]:
        """Who pings whom; of many, not all in all directions: two cores send no more."""
        bridged = self.guests[len(self.routed) :]
        for env, guest in zip(self.routed, self.guests, strict=False):
            yield f"{env['INTERFACE']} out, IPv6", guest, GATEWAY6
            yield f"{env['INTERFACE']} in", self.router, env["IP"]
            if len(self.routed) < MANY:
                yield f"{env['INTERFACE']} out", guest, GATEWAY
                yield f"{env['INTERFACE']} in, IPv6", self.router, ip6(env)
        for number, guest in enumerate(bridged):
            peer = self.filtered[(number + 1) % len(bridged)]
            yield f"bridged, to {peer['INTERFACE']}", guest, peer["IP"]

    def command(self, *words: str) -> tuple[int, str]:
        ran = self.node.run(SCRIPTS / "snf-network", *words, check=False, timeout=120)
        return ran.returncode, ran.stdout + ran.stderr

    def old(self) -> list[str]:
        """All that the bash package has left for taps, a line each."""
        lines = [
            line for save in SAVES for line in self.saved(save) if re.search(r"tap\d|(FROM|TO)TAP", line)
        ]
        for family in ("-4", "-6"):
            for words in (("rule",), ("route", "show", "table", "all"), ("neigh", "show", "proxy")):
                lines += self.node.out("ip", family, *words).splitlines()
        ours = re.compile(
            r"proto (148|kernel)|^(local|multicast|anycast) |iif eth1|lookup (local|main|default)"
        )
        rest = re.compile(r"dev (eth1|lo|prv0)")
        return [
            line
            for line in lines
            if not ours.search(line) and (re.search(r"tap|TAP|aaff|:ff:fe", line) or not rest.search(line))
        ]

    def saved(self, save: str) -> list[str]:
        backend = save.split("-")[1]
        if backend != "nft" and (backend != self.backend or not save.startswith("ip")):
            return []
        return self.node.out(save).splitlines()

    def is_adopted(self) -> None:
        assert self.old() == []
        assert self.command("check") == (0, "clean\n")
        assert self.command("adopt") == (0, "nothing to adopt\n")
        names = self.node.out("ls", STATE).split()
        assert sorted(name for name in names if name.startswith("tap")) == sorted(
            env["INTERFACE"] for env in (*self.routed, *self.filtered)
        )
        rules = "".join("\n".join(self.saved(save)) for save in SAVES)
        assert "9999" in rules and "198.51.100.254" in rules, "the admin's own went too"

    @contextmanager
    def traffic(self, most: int = 1) -> Iterator[None]:
        """Guests ping and forge while the block runs."""
        pings = {name: Pings(source, address, SPACING) for name, source, address in self.ways()}
        first, last = self.guests[0], self.guests[-1]
        open_to_all = next(number for number, env in enumerate(self.filtered) if not env["TAGS"])
        hearer = Ear(self.guests[len(self.routed) + open_to_all], "eth0")
        with ExitStack() as stack:
            forgers = [
                Forger(
                    first, self.routed[0]["MAC"], "198.51.100.66", GATEWAY, Ear(self.router, "br0"), PERIOD
                ),
                Forger(last, FORGED, "203.0.113.66", self.filtered[0]["IP"], hearer, PERIOD),
            ]
            for forger in forgers:
                stack.callback(forger.close)
            time.sleep(30 * SPACING)
            yield
            time.sleep(30 * SPACING)
            lost = {name: ping.lost() for name, ping in pings.items()}
            heard = [forger.heard for forger in forgers]
            print(f"lost {lost}, forged {heard}")
            assert max(lost.values()) <= most, lost
            assert heard == [0, 0]
            without_rules(self.node)  # nothing but our rules kept them
            assert until(lambda: all(forger.heard for forger in forgers), 5)
        assert self.command("repair")[0] == 0


@pytest.fixture(params=BACKENDS)
def place(request: pytest.FixtureRequest, lab: Lab) -> Place:
    return Place(lab, request.param)


@pytest.fixture
def small(lab: Lab) -> Place:
    """One guest in each mode."""
    return Place(lab, "nft", 1)


# --- running guests


def test_guests_are_taken_over_while_they_talk(place: Place) -> None:
    before = place.old()
    assert "tap0-env        a file of the bash package: snf-network adopt" in place.command("check")[1]
    status, said = place.command("adopt", "--dry-run")
    assert (status, place.old()) == (0, before), said
    assert (
        f"iptables-{place.backend} -D FORWARD '!' -s 198.51.100.100/32 -i tap0 " in said
        and "ebtables-nft -X FROMTAP3" in said
        and f"rm {STATE}/tap0-env" in said
    )
    with place.traffic():
        status, said = place.command("adopt")
        assert status == 0, said
        assert said.count(" adopted, ") == 2 * NICS, said
        place.is_adopted()


def test_killed_at_any_moment_and_run_again(place: Place) -> None:
    chance = random.Random()
    with place.traffic():
        for _ in range(6):
            argv = place.node.command(SCRIPTS / "snf-network", "adopt")
            with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as call:
                time.sleep(chance.uniform(0.1, 0.8))
                call.kill()
        status, said = place.command("adopt")
        assert status == 0, said
        place.is_adopted()


def test_a_node_on_a_bridge_keeps_its_mac_address(small: Place) -> None:
    """A bridge takes the lowest of its ports' addresses, and guests know the node by it."""
    small.node.ip(f"link set tap1 address {BRIDGE_MAC}", f"addr add {NODE_IP}/24 dev prv0")
    guest = small.guests[1]
    assert until(lambda: guest.ping(NODE_IP), 10) and BRIDGE_MAC in small.node.out(
        "ip", "link", "show", "prv0"
    )
    assert f"ip link set dev prv0 address {BRIDGE_MAC}" in small.command("adopt", "--dry-run")[1]
    pings = Pings(guest, NODE_IP, SPACING)
    time.sleep(0.5)
    assert small.command("adopt")[0] == 0
    time.sleep(0.5)
    assert pings.lost() <= 1
    assert BRIDGE_MAC in small.node.out("ip", "link", "show", "prv0")
    small.is_adopted()


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_guests(lab: Lab, backend: str) -> None:
    place = Place(lab, backend, MANY)
    with place.traffic():
        status, said = place.command("adopt")
        assert (status, said.count(" adopted, ")) == (0, 2 * MANY), said
        place.is_adopted()


def test_a_file_of_0_16_has_the_name_of_our_record(small: Place) -> None:
    for env in (*small.routed, *small.filtered):
        name = f"{STATE}/{env['INTERFACE']}"
        keys = "^(INSTANCE|IP|EUI64|LINK|NETWORK_NAME|INTERFACE|INTERFACE_INDEX|NETWORK_TAGS|TAGS|NETWORK_G|NETWORK_S)"
        small.node.run("sh", "-ec", f"grep -E '{keys}' {name}-env > {name}; rm {name}-env {name}-cmds")
    status, said = small.command("adopt")
    assert status == 0, said
    small.is_adopted()


# --- what is refused, what is left


def left(place: Place, *words: str) -> None:
    """It is told, and nothing of the first NIC is changed."""
    before = [line for line in place.old() if "tap0" in line]
    status, said = place.command("adopt")
    assert status == 1 and "left tap0: " in said and all(word in said for word in words), said
    assert [line for line in place.old() if "tap0" in line] == before
    assert place.guests[0].ping(GATEWAY) and place.guests[0].ping(GATEWAY6)
    assert "tap1: inst1.example.com adopted" in said, "one that cannot be adopted stops no other"


def change(place: Place, line: str) -> None:
    place.node.run("sh", "-ec", f"cd {STATE}; {line}")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("echo IP=198.51.100.66 >> tap0-env", "IP is "),
        (r"sed -i 's/^INSTANCE=.*/INSTANCE=$(touch \/tmp\/hacked)/' tap0-env", "INSTANCE="),
        (r"sed -i 's/^IP=.*/IP=198.51.100.66/' tap0-env", "binding"),
        (r"sed -i 's/^IP=.*/IP=198.51.100.66/' tap0-env /var/lib/nfdhcpd/tap0", "route"),
        (r"sed -i 's/^LINK=.*/LINK=prv0/; s/^MODE=.*/MODE=bridged/' tap0-env", "no bridge"),
        ("rm tap0-env", "tap0-env"),
        ("rm tap0-env tap0-cmds", "nothing in"),
        ("iptables-nft -A FORWARD -o tap0 -j protected -m comment --comment snf-network_firewall", "profile"),
    ],
)
def test_a_nic_that_is_not_certain_is_left_as_it_is(small: Place, line: str, words: str) -> None:
    change(small, line)
    left(small, words)
    assert small.node.run("ls", "/tmp/hacked", check=False).returncode


def test_a_hostile_name_is_data(small: Place) -> None:
    name = 'INTERFACE_NAME=$(touch /tmp/hacked);`touch /tmp/hacked`\nNETWORK_NAME=a";touch /tmp/hacked;"\n'
    small.node.write(f"{STATE}/more", name)
    change(small, "grep -v ^NETWORK_NAME tap0-env >> more; mv more tap0-env")
    assert small.command("adopt")[0] == 0
    small.is_adopted()
    assert small.node.run("ls", "/tmp/hacked", check=False).returncode


def test_what_others_have_for_a_tap_is_left_and_told(small: Place) -> None:
    extra = (
        "iptables-nft -I FORWARD -i tap0 -p tcp --dport 25 -j ACCEPT -m comment --comment snf-network_extra"
    )
    small.node.run("sh", "-ec", extra)
    status, said = small.command("adopt")
    assert status == 0 and "--dport 25" in said and "(of an extra script)" in said
    for line in (
        "iptables-nft -I FORWARD -i tap0 -p tcp --dport 26 -j ACCEPT",
        "ebtables -A FORWARD -i tap1 -p ipv4 -j ACCEPT",
    ):
        small.node.run("sh", "-ec", line)
    status, said = small.command("adopt")
    assert status == 1 and said.count("(not of the bash package)") == 2 and "nothing to adopt" in said
    assert "--dport 26" in small.node.out("iptables-nft-save")


def test_what_guests_left_that_are_gone(small: Place) -> None:
    for env in (*small.routed, *small.filtered):
        small.node.ip(f"link del {env['INTERFACE']}")
    status, said = small.command("adopt")
    assert status == 0 and "tap0: gone" in said and "tap1: gone" in said, said
    assert small.old() == []
    assert small.command("adopt") == (0, "nothing to adopt\n")


def test_rules_of_the_last_guest_on_a_tap_that_is_ours(small: Place) -> None:
    """A guest was started again after the package had been installed: its old file is another's."""
    env = {**small.routed[0], "INSTANCE": "new.example.com", "INTERFACE_UUID": "new"}
    small.node.up(env)
    status, said = small.command("adopt")
    assert status == 0 and "tap0: new.example.com adopted" in said, said
    small.is_adopted()


def test_a_nic_that_cannot_come_up_keeps_what_it_has(small: Place) -> None:
    """Its members are refused, as its firewall profile does not load: it is not taken down either."""
    small.node.write("/etc/snf-network/profiles/protected.nft", "no rule\n")
    before = [line for line in small.old() if "tap1" in line]
    status, said = small.command("adopt")
    assert status == 1 and "left tap1: " in said and "tap0: inst0.example.com adopted" in said, said
    assert [line for line in small.old() if "tap1" in line] == before != []
    for _, source, address in small.ways():
        assert source.ping(address)
    small.node.run("rm", "/etc/snf-network/profiles/protected.nft")
    assert small.command("adopt")[0] == 0
    small.is_adopted()


def test_json(small: Place) -> None:
    status, said = small.command("adopt", "--dry-run", "--json")
    found = json.loads(said)
    assert status == 0 and [one["status"] for one in found["nics"]] == ["adopted", "adopted"]
    assert found["left"] == [] and any("-D FORWARD" in line for line in found["nics"][0]["lines"])
