"""vif-custom as Xen's toolstack calls it, with stand-ins for xl and xenstore-*; a real Xen is tests/xen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.lab import SCRIPTS, Lab, Machine

NIC_FILE = """TAGS="synnefo:network:0:protected\\ other"
NETWORK_NAME="pub1"
NETWORK_SUBNET="198.51.100.0/24"
NETWORK_GATEWAY="198.51.100.1"
NETWORK_SUBNET6="2001:db8:1::/64"
NETWORK_GATEWAY6="2001:db8:1::1"
NETWORK_TAGS="ip-less-routed nfdhcpd"
NETWORK_UUID="5ac0de02-0000-4000-8000-000000000002"
MAC=aa:00:00:ad:35:c9
IP=198.51.100.10
INTERFACE_INDEX=0
INTERFACE_UUID=5ac0de01-0000-4000-8000-000000000001
MODE=routed
LINK=snf_public
VLAN=
"""
PATH = "/var/run/ganeti/xen-hypervisor/nic/inst1.example.com/0"
XENBUS = "backend/vif/7/0"


@pytest.fixture
def node() -> Iterator[Machine]:
    lab = Lab()
    try:
        node = lab.node("node1", lab.router())
        node.ip("link add vif7.0 type veth peer name guest")
        tool(node, "xl", 'test "$1 $2" = "domname 7" && echo inst1.example.com')
        write = 'mkdir -p "/var/xs/$(dirname "$1")"; printf %s "$2" > "/var/xs/$1"'
        tool(node, "xenstore-write", f"while [ $# -gt 0 ]; do {write}; shift 2; done")
        nic_file(node, NIC_FILE)
        yield node
    finally:
        lab.close()


def tool(node: Machine, name: str, body: str) -> None:
    install = 'mkdir -p /var/bin; cat > "/var/bin/$1"; chmod +x "/var/bin/$1"; mount --bind /var/bin /usr/local/sbin'
    node.run("sh", "-c", install, "sh", name, input=f"#!/bin/sh\n{body}\n")


def nic_file(node: Machine, text: str) -> None:
    # /var/run is a link to /run, which is not the lab's: give it one of its own
    private = "mount -t tmpfs tmpfs /run; mkdir -p /run/ganeti; mount --bind /run/ganeti /run/ganeti"
    node.run("sh", "-c", f"mountpoint -q /run/ganeti || {{ {private}; }}")
    node.write(PATH, text)


def vif(node: Machine, *arguments: str, check: bool = True, **env: str) -> tuple[int, str]:
    variables = {"vif": "vif7.0", "XENBUS_PATH": XENBUS, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **env}
    ran = node.script("vif-custom", variables, *arguments, check=check)
    return ran.returncode, ran.stderr


def xenstore(node: Machine, key: str) -> str:
    return node.read(f"/var/xs/{XENBUS}/{key}")


def test_online_brings_the_vif_up_and_tells_the_toolstack(node: Machine) -> None:
    assert vif(node, "online", "type_if=vif") == (0, "")
    assert xenstore(node, "hotplug-status") == "connected"
    assert "198.51.100.10 dev vif7.0" in node.out("ip", "route", "show", "table", "222")
    assert "goto profile_protected" in node.out("nft", "list", "map", "inet", "snf_network", "egress")
    assert node.run(SCRIPTS / "snf-network", "check").returncode == 0


def test_the_mac_of_a_vif_is_left_alone_and_its_link_local_address_is_not_the_guests(node: Machine) -> None:
    before = node.out("cat", "/sys/class/net/vif7.0/address")
    vif(node, "online", "type_if=vif")
    assert node.out("cat", "/sys/class/net/vif7.0/address") == before
    assert "fe80::fcff:ffff:feff:ffff" in node.out("nft", "list", "set", "inet", "snf_network", "routers")


def test_offline_takes_all_back_even_when_the_vif_is_gone(node: Machine) -> None:
    vif(node, "online", "type_if=vif")
    node.ip("link del vif7.0")
    assert vif(node, "offline", "type_if=vif") == (0, "")
    assert "vif7.0" not in node.out("nft", "list", "ruleset")
    assert not node.read("/var/lib/snf-network/vif7.0")
    assert "fwmark" not in node.out("ip", "rule")


def test_xm_is_asked_where_there_is_no_xl(node: Machine) -> None:
    tool(node, "xl", "exit 1")
    tool(node, "xm", 'test "$1 $2" = "domname 7" && echo inst1.example.com')
    assert vif(node, "online", "type_if=vif")[0] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (NIC_FILE.replace("MAC=aa:00:00:ad:35:c9", "MAC=nonsense"), "MAC='nonsense'"),
        (NIC_FILE.replace("MAC=aa:00:00:ad:35:c9", "MAC=$(touch /var/pwned)"), "MAC="),
        ("", "MAC is missing"),
        (NIC_FILE.replace("LINK=snf_public", "LINK=nosuch"), "LINK=nosuch"),
    ],
)
def test_an_unusable_nic_file_is_an_error_in_xenstore(node: Machine, text: str, words: str) -> None:
    nic_file(node, text)
    status, said = vif(node, "online", "type_if=vif", check=False)
    assert status == 1
    assert words in said and said.count("\n") == 1
    assert xenstore(node, "hotplug-status") == "error"
    assert words in xenstore(node, "hotplug-error")
    assert node.run("test", "-e", "/var/pwned", check=False).returncode == 1
    assert "UP" not in node.out("ip", "-br", "link", "show", "dev", "vif7.0").split()[1]


def test_a_nic_file_is_read_as_data(node: Machine) -> None:
    nic_file(
        node,
        NIC_FILE.replace(
            'NETWORK_NAME="pub1"', 'NETWORK_NAME="$(touch /var/pwned)`touch /var/pwned`"; touch /var/pwned'
        ),
    )
    vif(node, "online", "type_if=vif", check=False)
    assert node.run("test", "-e", "/var/pwned", check=False).returncode == 1


@pytest.mark.parametrize("name", ["vif7", "vif7.x", "eth0", "vif../../etc", "vif7.0;id"])
def test_a_name_that_is_no_vif_is_refused(node: Machine, name: str) -> None:
    status, said = vif(node, "online", "type_if=vif", check=False, vif=name)
    assert (status, said.count("\n")) == (1, 1)


def test_no_such_domain_is_an_error(node: Machine) -> None:
    status, said = vif(node, "online", "type_if=vif", check=False, vif="vif8.0")
    assert status == 1 and "domain 8 has no name" in said
    assert xenstore(node, "hotplug-status") == "error"


def test_the_emulated_tap_of_the_same_nic_may_have_its_address(node: Machine) -> None:
    vif(node, "online", "type_if=vif")
    node.ip("link add vif7.0-emu type veth peer name emulated")
    assert vif(node, "add", "type_if=tap", INTERFACE="vif7.0-emu") == (0, "")
    assert vif(node, "remove", "type_if=tap", INTERFACE="vif7.0-emu") == (0, "")
    assert "fwmark" in node.out("ip", "rule")


@pytest.mark.parametrize("body", ["exit 1", "exec sleep 30", None])
def test_a_xenstore_that_does_not_answer_is_one_line(node: Machine, body: str | None) -> None:
    """The toolstack hears nothing then, so the exit status has to say it."""
    if body:
        tool(node, "xenstore-write", body)
    else:
        node.run("rm", "/usr/local/sbin/xenstore-write")
    status, said = vif(node, "online", "type_if=vif", check=False)
    assert status == 1
    assert "xenstore-write" in said and said.count("\n") == 1


def test_reconfigure_leaves_the_mac_of_a_vif_alone(node: Machine) -> None:
    """Ganeti's hooks do not say which hypervisor it is; the record does."""
    vif(node, "online", "type_if=vif")
    before = node.out("cat", "/sys/class/net/vif7.0/address")
    hook = {
        "GANETI_HOOKS_PHASE": "post",
        "GANETI_OP_CODE": "OP_INSTANCE_SET_PARAMS",
        "GANETI_INSTANCE_NAME": "inst1.example.com",
        "GANETI_POST_INSTANCE_NAME": "inst1.example.com",
        "GANETI_POST_INSTANCE_NIC_COUNT": "1",
        "GANETI_POST_INSTANCE_TAGS": "synnefo:network:0:limited synnefo:network:0:reconfigure",
    }
    values = dict(
        line.replace('"', "").split("=", 1) for line in NIC_FILE.splitlines() if 'TAGS="syn' not in line
    )
    values["UUID"] = values.pop("INTERFACE_UUID")
    node.script(
        "snf-network-reconfigure",
        hook | {f"GANETI_POST_INSTANCE_NIC0_{name}": value for name, value in values.items()},
    )
    assert "goto profile_limited" in node.out("nft", "list", "map", "inet", "snf_network", "egress")
    assert node.out("cat", "/sys/class/net/vif7.0/address") == before
    assert node.out(SCRIPTS / "snf-network", "check") == "clean\n"
