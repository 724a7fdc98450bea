"""The steps of the demo, in order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from socket import AF_INET6, inet_aton, inet_pton

from demo.cluster import GATEWAY, GATEWAY6, Cluster, answered, unanswered
from demo.migration import migrate
from demo.stage import Stage, few
from lab import Ear, Lab, Machine, cell, environment, traces, until

INST1 = "v32-start-ifup-1"
ADDRESS6 = "2001:db8:1:0:a800:ff:fe26:7714"
ALIEN, ALIEN6 = "198.51.100.66", "2001:db8:1::66"
SPOOFED = inet_aton(ALIEN), inet_pton(AF_INET6, ALIEN6)
PLAN = (
    "# nft",
    "inet snf_network macs",
    "inet snf_network src",
    "inet snf_network tables",
    "ip -4",
    "ip -6",
    "fwmark",
    "route replace",
    "proxy 198",
    "# files",
    "write",
    "# announce",
    " on eth1",
)
PICTURE = """
                   router   198.51.100.1   2001:db8:1::1
            ┌─────────┴─────────┐        public network pub1, table snf_public
          node1               node2
     ┌──────┴──────┐
   tap0        bridge prv0               private networks prv1 (aa:55:60)
  inst1     tap1   tap3   tap4            and prv2 (aa:55:70)
           inst2  inst3  inst4"""


def play(stage: Stage) -> None:
    """All of them."""
    if not stage.pause:
        stage.say(stage.paint("dim", "too fast? --pause"))
    stage.say(
        stage.paint("bold", "snf-network: what the scripts of this checkout do for the NICs of Ganeti guests")
    )
    for line in PICTURE.splitlines():
        stage.say(stage.paint("dim", line))
    cluster = Cluster(stage)
    tour = Tour(cluster)
    for step in (
        tour.routed,
        tour.spoofing,
        tour.isolation,
        tour.status,
        tour.flush,
        tour.move,
        tour.leftovers,
    ):
        step()
    conclude(stage, cluster.lab)


def conclude(stage: Stage, lab: Lab) -> None:
    """Tell the supervisor what it may look for."""
    cell.report("claims", [str(stage.held)])
    cell.report("written", [*written(lab.machines.values()), *cell.checkout_writes()])


def written(machines: Iterable[Machine]) -> list[str]:
    """The files that machines have written to their overlays of /etc and /var, as they would be called on the
    real machine.
    """
    alive = [machine for machine in machines if machine.holder.poll() is None]
    found = [machine.out("find", "/mnt/etc", "/mnt/var", "!", "-type", "d").split() for machine in alive]
    return sorted({path.removeprefix("/mnt") for paths in found for path in paths})


def spoofed(frames: Iterable[tuple[float, bytes]]) -> list[str]:
    """The frames that carry one of the addresses that nobody has, as hex."""
    return [frame.hex() for _, frame in frames if any(address in frame for address in SPOOFED)]


def prefixes(frames: Iterable[tuple[float, bytes]]) -> set[str]:
    """The MAC prefixes that frames came from."""
    return {frame[6:9].hex(":") for _, frame in frames}


class Tour:
    """One walk through all steps; what a step makes is there for the next."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.stage = cluster, cluster.stage
        self.router, self.node1, self.node2 = cluster.router, cluster.node1, cluster.node2
        self.claim = cluster.stage.claim

    # --- 1
    def routed(self) -> None:
        """A NIC comes up."""
        self.stage.step(
            "A NIC comes up: mode routed, IPv4 and IPv6",
            "Ganeti made tap0 and calls the script with an environment, from a recording (named after ←):",
        )
        env = environment(INST1)
        self.stage.output(
            [
                f"{name + '=' + env[name]:40} {other + '=' + env[other]}"
                for name, other in (
                    ("INSTANCE", "INTERFACE"),
                    ("MODE", "LINK"),
                    ("MAC", "IP"),
                    ("NETWORK_GATEWAY", "NETWORK_GATEWAY6"),
                    ("NETWORK_SUBNET", "NETWORK_SUBNET6"),
                    ("NETWORK_TAGS", "INTERFACE_UUID"),
                )
            ]
        )
        self.inst1 = self.cluster.guest(env)
        plan = self.cluster.show(
            self.node1, f"scripts/snf-network plan --env tests/environments/{INST1}.env", *PLAN
        )
        self.claim(
            "src4" in plan.stdout and not self.node1.out("nft", "list", "ruleset"),
            "the plan is a dry run: nothing has changed",
            plan.stderr or self.node1.out("nft", "list", "ruleset"),
        )
        self.cluster.serve(self.node1)
        ran = self.cluster.script(self.node1, "kvm-ifup-custom", env, f"{INST1}.env")
        self.claim(ran.returncode == 0, "the NIC is up", ran.stderr)
        self.boots()
        self.reaches_router()

    def boots(self) -> None:
        """Nothing in the guest is configured: nfdhcpd tells it all, on its tap."""
        said = self.cluster.show(self.inst1, "udhcpc -nqf -i eth0", "lease of")
        self.claim(
            "lease of 198.51.100.10 obtained" in said.stdout + said.stderr,
            "inst1 has its IPv4 address by DHCP",
            said.stderr,
        )
        self.cluster.show(self.inst1, "dhclient -6 -1 -v eth0", "RCV: Reply")
        said = self.cluster.show(self.inst1, "ip -6 addr show eth0 scope global", "inet6")
        self.claim(ADDRESS6 in said.stdout, "and its IPv6 address by DHCPv6", said.stdout)

    def reaches_router(self) -> None:
        """Both families."""
        for family, address in ("IPv4", GATEWAY), ("IPv6", GATEWAY6):
            said = self.cluster.ping(self.inst1, address)
            self.claim(answered(said), f"inst1 reaches the router over {family}", said)

    # --- 2
    def spoofing(self) -> None:
        """Nothing but the guest's own addresses leaves its tap."""
        self.stage.step(
            "The guest lies about who it is",
            "Another IPv4 address, another IPv6 address, another MAC address:",
        )
        ear = Ear(self.router, "br0")
        self.lie()
        self.other_mac()
        heard = spoofed(ear.frames(0.05))
        self.claim(not heard, "the router heard nothing of it", heard)
        for family, reasons in ("inet", ("ip4-src", "ip6-src")), ("arp", ("src-mac",)):
            self.cluster.show(
                self.node1, f"nft list set {family} snf_network drops", "elements", "counter packets"
            )
            for reason in reasons:
                count = self.cluster.dropped(self.node1, family, "tap0", reason)
                self.claim(count, f"dropped and counted: {count} x {reason} from tap0", "no such counter")

    def lie(self) -> None:
        """Ping the router with addresses of somebody else."""
        for address, words, target in (ALIEN, f"{ALIEN}/32", GATEWAY), (ALIEN6, f"{ALIEN6}/128", GATEWAY6):
            self.cluster.sh(self.inst1, f"ip addr add {words} dev eth0{' nodad' if ':' in words else ''}")
            said = self.cluster.ping(self.inst1, target, f"-c1 -W0.3 -I {address}")
            self.inst1.ip(f"addr del {words} dev eth0")
            self.claim(unanswered(said), f"as {address}: no answer", said)

    def other_mac(self) -> None:
        """Ping the router with another MAC address, then go back to the own one."""
        mac = environment(INST1)["MAC"]
        self.cluster.sh(self.inst1, "ip link set eth0 address aa:00:00:00:00:66")
        said = self.cluster.ping(self.inst1, GATEWAY, "-c1 -W0.3")
        self.claim(unanswered(said), "as aa:00:00:00:00:66: no answer", said)
        self.cluster.sh(self.inst1, f"ip link set eth0 address {mac}")
        said = self.cluster.ping(self.inst1, GATEWAY)
        self.claim(answered(said), "as itself again: answered", said)

    # --- 3
    def isolation(self) -> None:
        """Two private networks on one bridge."""
        self.stage.step(
            "Two private networks on one bridge, told apart by MAC prefix",
            "inst2 and inst3 are in prv1 (aa:55:60), inst4 in prv2 (aa:55:70); all use the same subnet.",
        )
        self.private_guests()
        before = self.cluster.dropped(self.node1, "bridge", "tap4", "mac-prefix")
        near, far = Ear(self.inst3, "eth0"), Ear(self.inst4, "eth0")
        said = self.cluster.ping(self.inst2, "203.0.113.3")
        self.claim(answered(said), "inst2 talks to inst3", said)
        said = self.cluster.ping(self.inst2, "203.0.113.4", "-c1 -W0.3")
        self.claim(unanswered(said), "inst2 gets no answer from inst4", said)
        heard = prefixes(near.frames(0.05)), prefixes(far.frames(0.05))
        self.claim("aa:55:60" in heard[0], "inst3 heard the broadcasts of inst2", heard[0])
        self.claim("aa:55:60" not in heard[1], "inst4 heard nothing of prv1, not even a broadcast", heard[1])
        self.cluster.show(self.node1, "nft list set bridge snf_network drops", "elements", "counter packets")
        count = self.cluster.dropped(self.node1, "bridge", "tap4", "mac-prefix") - before
        self.claim(count > 0, f"dropped and counted: {count} x mac-prefix to tap4", "no such counter")

    def private_guests(self) -> None:
        """inst2 as recorded; the other two are copies of it with changes."""
        self.envs = {
            "inst2": environment("add-bridged-ifup-1"),
            "inst3": private(3, "aa:55:60", "prv1", "synnefo:network:0:protected"),
            "inst4": private(4, "aa:55:70", "prv2"),
        }
        self.inst2, self.inst3, self.inst4 = (
            self.cluster.guest(env, env["IP"] + "/24") for env in self.envs.values()
        )
        for name, env in self.envs.items():
            changed = (
                ""
                if name == "inst2"
                else f", but {env['INTERFACE']} {env['MAC']} {env['NETWORK_NAME']} {env['TAGS'][-9:]}".rstrip()
            )
            ran = self.cluster.script(self.node1, "kvm-ifup-custom", env, f"add-bridged-ifup-1.env{changed}")
            self.claim(ran.returncode == 0, f"{name} is up", ran.stderr)

    # --- 4
    def status(self) -> None:
        """What an operator sees."""
        self.stage.step(
            "What the operator sees", "inst2 gets a second NIC while it runs, in the public network; then:"
        )
        env = environment("hotplug-add-routed-ifup-1")
        self.cluster.lab.cable(self.node1, env["INTERFACE"], self.inst2, "eth1")
        self.envs["hotplug"] = env
        ran = self.cluster.script(self.node1, "kvm-ifup-custom", env, "hotplug-add-routed-ifup-1.env")
        self.claim(ran.returncode == 0, "tap2 is up", ran.stderr)
        table = self.cluster.show(self.node1, "scripts/snf-network status").stdout
        self.claim(table.count("  up  ") == 5, "five NICs, all up", table)
        self.check(self.node1)

    def check(self, node: Machine) -> None:
        """`check` is clean."""
        ran = self.cluster.show(node, "scripts/snf-network check")
        self.claim(
            ran.returncode == 0 and ran.stdout == "clean\n",
            f"{node.name} is as recorded",
            ran.stdout + ran.stderr,
        )

    # --- 5
    def flush(self) -> None:
        """Somebody flushes the ruleset."""
        self.stage.step("Somebody types nft flush ruleset")
        self.cluster.show(self.node1, "nft flush ruleset")
        found = self.cluster.sh(self.node1, "scripts/snf-network check")
        self.stage.output(few(found.stdout + found.stderr, 6))
        lost = found.stdout.count("missing")
        self.claim(
            found.returncode == 1 and lost > 30,
            f"check exits 1 and names {lost} things that are missing",
            found,
        )
        self.exposed()
        ran = self.cluster.show(self.node1, "scripts/snf-network repair")
        self.claim(ran.returncode == 0, "repair has put all of it back", ran.stdout + ran.stderr)
        self.check(self.node1)
        ear = Ear(self.router, "br0")
        self.lie()
        heard = spoofed(ear.frames(0.05))
        count = self.cluster.dropped(self.node1, "inet", "tap0", "ip4-src")
        self.claim(
            not heard and count,
            "spoofed packets are dropped again, and the router hears none",
            heard or "not counted",
        )

    def exposed(self) -> None:
        """Without the rules it does get through: so it was they that stopped it, and the ear is no deaf
        one.
        """
        ear, far = Ear(self.router, "br0"), Ear(self.inst4, "eth0")
        self.cluster.sh(self.inst1, f"ip addr add {ALIEN}/32 dev eth0")
        self.cluster.ping(self.inst1, GATEWAY, f"-c1 -W0.3 -I {ALIEN}")
        self.inst1.ip(f"addr del {ALIEN}/32 dev eth0")
        self.cluster.ping(self.inst2, "203.0.113.4")
        self.claim(
            spoofed(ear.frames(0.05)), "the proof of it: now the router does hear the spoofed ping", "nothing"
        )
        heard = prefixes(far.frames(0.05))
        self.claim("aa:55:60" in heard, "and inst4 does hear the other private network", heard)

    # --- 6
    def move(self) -> None:
        """Live migration, as far as a NIC knows."""
        self.stage.step(
            "inst1 moves to node2",
            "The router pings it every 20 ms all the while, and watches for announcements.",
        )
        migrate(self.cluster)
        self.reaches_router()

    # --- 7
    def leftovers(self) -> None:
        """A guest dies, and nobody calls ifdown."""
        self.stage.step(
            "inst2 dies, and nobody calls ifdown",
            "Its taps vanish, as after kill -9 of QEMU. Ganeti before 3.2 has no ifdown at all.",
        )
        self.inst2.close()
        self.claim(
            until(lambda: not {"tap1", "tap2"} & taps(self.node1)), "tap1 and tap2 are gone", taps(self.node1)
        )
        proxies = self.cluster.show(self.node1, "ip neigh show proxy dev eth1").stdout
        self.claim("198.51.100.2 " in proxies, "but node1 would still answer ARP for inst2", proxies)
        table = self.cluster.show(self.node1, "scripts/snf-network status").stdout
        self.claim(table.count("  gone  ") == 2, "status says so", table)
        found = self.cluster.show(self.node1, "scripts/snf-network check")
        self.claim(
            found.returncode == 1 and found.stdout.count("gone ") == 2,
            "check says so, and exits 1",
            found.stdout + found.stderr,
        )
        ran = self.cluster.show(self.node1, "scripts/snf-network gc")
        self.claim(
            ran.returncode == 0 and "2 NICs" in ran.stdout,
            "gc has taken back what they had",
            ran.stdout + ran.stderr,
        )
        left = [
            trace
            for trace in traces(self.node1)
            if re.search(r"tap[12]\b|198\.51\.100\.2\b|fe28:2e93", trace)
        ]
        self.claim(not left, "nothing of tap1, tap2 or their addresses is on node1 any more", "\n".join(left))
        self.check(self.node1)
        self.check(self.node2)
        self.good_bye()

    def good_bye(self) -> None:
        """The other guests stop as they should."""
        for node, env, note in (
            (self.node1, self.envs["inst3"], "inst3"),
            (self.node1, self.envs["inst4"], "inst4"),
            (self.node2, environment("v32-stop-ifdown-1"), "v32-stop-ifdown-1.env"),
        ):
            self.cluster.script(node, "kvm-ifdown-custom", env, note, env["INTERFACE"])
        for node in self.node1, self.node2:
            self.claim(
                not traces(node),
                f"{node.name} has no member, rule, route, neighbour or file of ours left",
                "\n".join(traces(node)),
            )


def taps(node: Machine) -> set[str]:
    """The taps of a node."""
    return {
        line.split()[1].partition("@")[0]
        for line in node.out("ip", "-o", "link").replace(":", "").splitlines()
        if " tap" in line
    }


def private(number: int, prefix: str, network: str, tags: str = "") -> dict[str, str]:
    """A bridged NIC like the recorded one of inst2, but another guest's, perhaps in another private
    network.
    """
    return environment(
        "add-bridged-ifup-1",
        INSTANCE=f"inst{number}.example.com",
        INTERFACE=f"tap{number}",
        MAC=f"{prefix}:00:00:0{number}",
        IP=f"203.0.113.{number}",
        NETWORK_NAME=network,
        NETWORK_MAC_PREFIX=prefix,
        INTERFACE_NAME=None,
        TAGS=tags,
        INTERFACE_UUID=f"5ac0de1{number}-0000-4000-8000-00000000001{number}",
    )
