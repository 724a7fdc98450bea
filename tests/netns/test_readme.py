"""The commands in README.md and docs/operators.md work: each is run exactly as it is written there."""

from __future__ import annotations

import re
import textwrap

from tests.netns.lab import ROOT, Lab, Machine

OLD = """
iptables -A INPUT -p tcp --dport 22 -j ACCEPT
iptables -N protected
iptables -A FORWARD -i tap0 ! -s 198.51.100.7 -m comment --comment snf-network_routed -j DROP
iptables -A FORWARD -o tap0 -m comment --comment snf-network_firewall -j protected
ip6tables -A FORWARD -i tap0 ! -s 2001:db8:1::7 -m comment --comment snf-network_routed -j DROP
arptables -A OUTPUT -o tap0 --opcode request -j mangle --mangle-ip-s 198.51.100.1
ebtables -N FROMtap1 -P RETURN
ebtables -A FROMtap1 -s ! aa:55:60:00:00:01 -j DROP
ebtables -A FORWARD -i tap1 -j FROMtap1
ebtables -A INPUT -i tap1 -j FROMtap1
ip rule add dev tap0 table 222
ip -6 rule add dev tap0 table 222
ip rule add iif eth1 lookup 222
ip neigh add proxy 2001:db8:1::7 dev eth1
"""
"""What the bash package left of two guests, and two things that are the node's own."""


def example(heading: str, path: str = "README.md") -> str:
    """The indented lines under a heading."""
    section = (ROOT / path).read_text().split(f"# {heading}\n")[1].split("\n#")[0]
    return textwrap.dedent("\n".join(line for line in section.splitlines() if line.startswith("    ")))


def test_the_main_job_in_ten_lines(lab: Lab) -> None:
    node = lab.machine("node")
    node.ip("link add eth1 type veth peer name far", "link set eth1 up", "link set far up")
    ran = node.run("sh", "-exc", f"cd {ROOT}\n{example('The main job, in ten lines')}", check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (
        "198.51.100.10/32 dev tap0" in ran.stdout
        and "vm1.example.com" in ran.stdout
        and "clean" in ran.stdout
    )
    assert "198.51.100.10" not in node.out("ip", "route", "show", "table", "all")


def test_what_the_bash_package_left_is_cleaned_up(lab: Lab) -> None:
    """As long as it stands it drops the next guest's packets, and `check` does not see it."""
    node = lab.machine("node")
    node.ip("link add eth1 type veth peer name far", "link set eth1 up", "link set far up")
    before = left(node)
    node.run("sh", "-exc", OLD)
    assert len(left(node)) > len(before)
    said = node.out("sh", "-exc", example("Without adopt", "docs/operators.md"))
    assert said.split() == ["2001:db8:1::7", "dev", "eth1", "proxy"]
    assert left(node) - before == {
        "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
        "32764:\tfrom all iif eth1 lookup 222",
    }


def left(node: Machine) -> set[str]:
    """Rules of all the tools that the bash package had."""
    tools = ("iptables-save", "ip6tables-save", "ebtables-save", "arptables-save", "ip rule", "ip -6 rule")
    return {
        line
        for tool in tools
        for line in node.out(*tool.split()).splitlines()
        if re.match(r"-A|:FROM|[1-9]", line)
    }
