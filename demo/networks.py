"""The second act: private networks over three nodes."""

from __future__ import annotations

from collections import Counter
from contextlib import closing

from demo.cluster import Hands, Ran, answered, unanswered
from demo.stage import Stage
from demo.steps import conclude
from lab import Ear, Lab, Machine
from lab.overlay import FILE, SSCONF, Cluster, forge
from lab.stream import Stream, announce, local
from snf_network.model.resources.devices import GROUP
from snf_network.selftest import frames as f

YAML = """\
networks:
  prv0: {kind: overlay, vni: 100, bridge: ov100}
  prv1: {kind: overlay, vni: 200, bridge: ov200}
"""
MACS = {number: f"aa:00:00:00:01:{number:02x}" for number in range(1, 5)}
BROADCASTS = 20
NET = "scripts/snf-network net"
LIST = f"{SSCONF}/ssconf_node_secondary_ips"
FORGED = "10.1.0.99"
PICTURE = """
                   underlay 10.99.0.0/24
       ┌─────────────────┬─────────────────┬──────────────┐
     node1             node2             node3         outside
  ov100 ov200       ov100 ov200       ov100 ov200
  inst1            inst2   inst4          (inst2)
  inst3
"""


def play(stage: Stage) -> None:
    """All of it."""
    stage.say(stage.paint("bold", "snf-network: private networks over all nodes, by VXLAN and no daemon"))
    for line in PICTURE.rstrip().splitlines():
        stage.say(stage.paint("dim", line))
    act = Act(stage)
    for step in (act.up, act.talk, act.move, act.leave, act.forged, act.down):
        step()
    conclude(stage, act.nodes.lab)


class Act(Hands):
    """One walk through all steps; what a step makes is there for the next."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.claim = stage.claim
        self.nodes = Cluster(Lab())
        self.node1, self.node2, self.node3 = self.nodes.nodes
        self.nodes.say(YAML)

    def guest(self, number: int, place: int, bridge: str, address: str) -> Machine:
        """inst<number> on node<place>."""
        guest = self.nodes.silent(place, bridge, MACS[number], f"tap{number}", address)
        guest.name = f"inst{number}"
        return guest

    # --- 1
    def up(self) -> None:
        """The file, and the command on each node."""
        self.stage.step("One file on three nodes", "Ganeti's own list says where the other nodes are.")
        self.show(self.node1, f"cat {FILE}")
        self.show(self.node1, f"cat {LIST}")
        said = self.show(self.node1, f"{NET} plan prv0", "ip link add", "fdb append")
        bridges = self.node1.out("ip", "-br", "link", "show", "type", "bridge")
        self.claim(said.stdout.count(" dst ") == 2 and not bridges, "the plan changes nothing", bridges)
        for node in self.nodes.nodes:
            ran = self.show(node, f"{NET} up")
            self.claim(ran.returncode == 0, f"{node.name} is in both networks", ran.stderr)
        ran = self.show(self.node1, f"{NET} up")
        self.claim(
            (ran.returncode, ran.stdout) == (0, ""), "a second time there is nothing to do", ran.stdout
        )
        self.show(self.node1, f"{NET} list")
        self.check(*self.nodes.nodes)

    def check(self, *nodes: Machine) -> None:
        """`net check` is clean on these nodes."""
        said = {node.name: unseen(node, "check").stdout for node in nodes}
        clean = dict.fromkeys(said, "clean\n")
        self.claim(said == clean, f"net check is clean on {', '.join(said)}", said)

    # --- 2
    def talk(self) -> None:
        """In one network and not in the other."""
        self.stage.step(
            "Guests of one network talk, wherever they are",
            "inst1, inst2 and inst4 are in prv0; inst3 is in prv1, with the address of inst2.",
        )
        self.inst1, self.inst2 = (self.guest(n, n, "ov100", f"10.1.0.{n}/24") for n in (1, 2))
        self.inst3 = self.guest(3, 1, "ov200", "10.1.0.2/24")
        self.inst4 = self.guest(4, 2, "ov100", "10.1.0.4/24")
        said = self.ping(self.inst1, "10.1.0.2")
        self.claim(answered(said), "inst1 on node1 talks to inst2 on node2", said)
        heard = self.broadcasts()
        for name in ("inst2", "inst4"):
            once = heard[name] == Counter(range(1, BROADCASTS + 1))
            self.claim(once, f"{name} gets each of {BROADCASTS} broadcasts of inst1 once", heard[name])
        self.claim(not heard["inst1"], "none comes back to inst1", heard["inst1"])
        self.claim(not heard["inst3"], "inst3, on the same node, hears nothing of prv0", heard["inst3"])

    def broadcasts(self) -> dict[str, Counter[int]]:
        """Who hears how many of inst1's."""
        ears = {guest.name: Ear(guest, "eth0") for guest in (self.inst1, self.inst2, self.inst3, self.inst4)}
        with closing(self.inst1.packet_socket("eth0")) as sender:
            for number in range(1, BROADCASTS + 1):
                sender.send(local(number, MACS[1], f.BROADCAST))
        heard = {name: [frame for _, frame in ear.frames(0.2)] for name, ear in ears.items()}
        for ear in ears.values():
            ear.socket.close()
        kind = f.LOCAL.to_bytes(2, "big")
        mine = {name: [one for one in some if one[12:14] == kind] for name, some in heard.items()}
        return {name: Counter(map(f.token, some)) for name, some in mine.items()}

    # --- 3
    def move(self) -> None:
        """As a migration does it: both taps are up, then the new one announces itself."""
        self.stage.step(
            "inst2 moves to node3 while inst1 speaks to it",
            "A frame every millisecond. The tap on node3 is up before the guest arrives;",
            "then it announces itself, as QEMU does for a guest.",
        )
        new = self.guest(2, 3, "ov100", "10.1.0.2/24")
        with Stream(self.inst1, MACS[1], MACS[2], self.inst2, new) as stream:
            moment = announce(new, MACS[2])
        place = self.show(self.node1, f"bridge fdb show dev vx100 | grep {MACS[2]}")
        self.claim(self.nodes.address(3) in place.stdout, "node1 sends to node3 now", place.stdout)
        self.claim(stream.lost == 0, f"none of {stream.sent} frames is lost", f"{stream.lost} are")
        after = stream.change_over(moment, 1) * 1000 if stream.heard[1] else 0
        words = f"the first at node3 was sent {after:.1f} ms after the announcement"
        self.claim(stream.heard[1] and after < 20, words, stream.heard[1])
        self.nodes.leave(2, "tap2")
        self.inst2 = new
        said = self.ping(self.inst1, "10.1.0.2")
        self.claim(answered(said), "inst1 talks to inst2 on node3", said)

    # --- 4
    def leave(self) -> None:
        """node3 goes and comes back; others talk meanwhile."""
        self.stage.step(
            "node3 leaves the cluster, and comes back",
            "inst1 speaks to inst4 on node2 all the while. The package's path unit would run",
            "net up whenever Ganeti's list changes.",
        )
        with Stream(self.inst1, MACS[1], MACS[4], self.inst4) as stream:
            self.members(1, 2)
            said = self.ping(self.inst1, "10.1.0.2", "-c1 -W0.3")
            self.claim(unanswered(said), "inst2, on node3, is out of reach", said)
            before = self.dropped(self.node1, "inet", "eth0", "vxlan")
            with closing(self.inst2.packet_socket("eth0")) as sender:
                sender.send(local(7, MACS[2], f.BROADCAST))
            dropped = self.dropped(self.node1, "inet", "eth0", "vxlan") - before
            self.claim(dropped > 0, "what node3 sends on is dropped and counted", "nothing was counted")
            self.members(1, 2, 3)
            said = self.ping(self.inst1, "10.1.0.2")
            self.claim(answered(said), "inst2 is back", said)
        words = f"none of {stream.sent} frames from inst1 to inst4 is lost, none comes twice"
        self.claim(stream.lost == stream.doubled == 0, words, f"{stream.lost}, {stream.doubled}")
        self.check(self.node1, self.node2)

    def members(self, *numbers: int) -> None:
        """Ganeti's list on the nodes that stay, and what becomes of it."""
        self.nodes.tell(list(numbers), "", self.node1, self.node2)
        gone = "node3 is not in" if 3 not in numbers else "node3 is again in"
        self.stage.say(f"   {gone} {LIST}")
        self.show(self.node1, f"{NET} plan prv0")
        for node in self.node1, self.node2:
            ran = self.show(node, f"{NET} up")
            self.claim(ran.returncode == 0, f"{node.name} has changed what differs", ran.stderr)

    # --- 5
    def forged(self) -> None:
        """VXLAN from somebody on the underlay who is no node."""
        self.stage.step(
            "Somebody on the underlay forges a packet into prv0",
            "A VXLAN device takes packets from anybody: a rule lets in the nodes' alone.",
        )
        before = self.dropped(self.node1, "inet", "eth0", "vxlan")
        self.claim(not self.hears(), "inst1 hears nothing of it", "it does")
        self.show(self.node1, "scripts/snf-network drops", "vxlan", "REASON")
        count = self.dropped(self.node1, "inet", "eth0", "vxlan") - before
        self.claim(count == 1, "dropped and counted: 1 x vxlan on eth0", count)
        self.show(self.node1, "nft flush ruleset")
        self.claim(self.hears(), "the proof of it: without the rule it does hear it", "nothing")
        ran = self.show(self.node1, "scripts/snf-network repair")
        self.claim(ran.returncode == 0 and not self.hears(), "after repair it does not", ran.stderr)
        self.check(self.node1)

    def hears(self) -> bool:
        """True if a forged broadcast reaches inst1."""
        ear = Ear(self.inst1, "eth0")
        self.stage.command("outside", "magenta", "(a broadcast of inst2, in VXLAN, to 10.99.0.1)")
        packet = f.arp(1, MACS[2], FORGED, "10.1.0.1")
        forge(self.nodes.outsider, self.nodes.address(1), 100, f.ethernet(MACS[2], f.BROADCAST, packet))
        with closing(ear.socket):
            return any(f.octets(FORGED) in frame for _, frame in ear.frames(0.1))

    # --- 6
    def down(self) -> None:
        """Not while there is a guest."""
        self.stage.step("The end of a network")
        ran = self.show(self.node2, f"{NET} down --all")
        refused = ran.returncode == 1 and "tap4" in ran.stderr
        self.claim(refused, "prv0 stays while it has a guest; prv1 has none on node2", ran.stderr)
        for place, number in ((1, 1), (3, 2), (1, 3), (2, 4)):
            self.nodes.leave(place, f"tap{number}")
        for node in self.nodes.nodes:
            ran = unseen(node, "down", "--all")
            left = node.out("ip", "-br", "link", "show", "group", str(GROUP))
            self.claim(ran.returncode == 0 and not left, f"{node.name} has no device of ours left", left)


def unseen(node: Machine, *words: str) -> Ran:
    """`snf-network net`, where what it says would be the same again."""
    return node.script("snf-network", {}, "net", *words, check=False)
