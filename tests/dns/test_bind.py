"""The scripts as shipped, and a real BIND: what is registered, what is removed, and what is left alone."""

from __future__ import annotations

import os
import subprocess

from snf_network.dns.spool import Spool
from snf_network.model.names import Names, reverse
from tests.dns.lab import (
    CLASSLESS,
    CLASSLESS_YAML,
    FORWARD,
    REVERSE4,
    REVERSE6,
    ZONE,
    Place,
    configure,
    forward,
    registered,
)
from tests.netns.lab import ROOT, environment, until

ENV = environment("add-routed-ifup-1")
INST1 = ("inst1", "10", "a800:ff:fead:35c9")
INST2 = ("inst2", "2", "a800:ff:fe28:2e93")
SECOND = environment("hotplug-add-routed-ifup-1", INSTANCE="inst1.example.com")
CLASSED = {**ENV, "IP": "203.0.113.7", "NETWORK_SUBNET": "203.0.113.0/26", "NETWORK_GATEWAY": "203.0.113.1"}


def test_up_registers_and_a_second_up_sends_nothing(fresh: Place) -> None:
    fresh.up(ENV)
    assert fresh.content() == registered(INST1)
    assert any(record.startswith("DHCID ") for record in fresh.server.content(FORWARD)["inst1"])
    serials = [fresh.server.serial(zone) for zone in (FORWARD, REVERSE4, REVERSE6)]
    fresh.up(ENV)
    assert fresh.content() == registered(INST1)
    assert [fresh.server.serial(zone) for zone in (FORWARD, REVERSE4, REVERSE6)] == serials


def test_without_the_tag_or_without_a_server_nothing_is_noted(fresh: Place) -> None:
    fresh.up(ENV, NETWORK_TAGS="nfdhcpd")
    configure(fresh.node, "SERVER=")
    fresh.up(ENV)
    configure(fresh.node, "AUTHENTICATION_METHOD=")
    fresh.up(ENV)
    assert fresh.content() == {}
    assert not fresh.node.read("/var/lib/snf-network/dns/wanted/inst1.example.com")


def test_a_hot_unplugged_nic_loses_its_names_and_the_other_keeps_its(fresh: Place) -> None:
    fresh.up(ENV)
    fresh.up(SECOND)
    both = fresh.content()
    assert both[FORWARD] == forward(
        "inst1",
        "198.51.100.10",
        "2001:db8:1:0:a800:ff:fead:35c9",
        "198.51.100.2",
        "2001:db8:1:0:a800:ff:fe28:2e93",
    )
    assert sorted(both[REVERSE4]) == ["10", "2"]
    fresh.node.script("kvm-ifdown-custom", SECOND, "tap2", "False")
    assert fresh.content() == registered(INST1)
    fresh.node.script("kvm-ifdown-custom", ENV, "tap0", "False")
    assert fresh.content() == {}


def test_a_local_down_and_that_of_ganeti_3_2_leave_names(fresh: Place) -> None:
    fresh.up(ENV)
    fresh.node.script("kvm-ifdown-custom", ENV, "tap0", "True")
    fresh.up(ENV)
    fresh.node.script("kvm-ifdown-custom", {**ENV, "ACTION": "down"})
    assert fresh.content() == registered(INST1)


def test_a_nic_that_loses_the_tag_or_its_address_loses_its_names(fresh: Place) -> None:
    fresh.up(ENV)
    fresh.up(SECOND)
    fresh.up(ENV, NETWORK_TAGS="ip-less-routed")
    assert fresh.content() == registered(("inst1", *INST2[1:]))
    fresh.up(SECOND, IP="198.51.100.3")
    assert fresh.content() == registered(("inst1", "3", INST2[2]))


def test_stop_takes_back_also_what_ganeti_and_we_have_forgotten(fresh: Place) -> None:
    fresh.up(ENV)
    fresh.up(SECOND)
    fresh.settle()
    fresh.node.run("rm", "-r", "/var/lib/snf-network/dns")
    fresh.hook("stop-hook-post-1")  # knows the first NIC only
    assert fresh.content() == {}


def test_stop_takes_back_what_the_bash_package_registered_and_nothing_else(fresh: Place) -> None:
    fresh.server.add(
        "zone example.com",
        "update add inst1.example.com 300 A 198.51.100.10",
        "update add www.example.com 300 A 198.51.100.10",
    )
    fresh.server.add(f"zone {REVERSE4}", f"update add 10.{REVERSE4} 300 PTR inst1.example.com.")
    fresh.hook("stop-hook-post-1")
    assert fresh.content() == {FORWARD: forward("www", "198.51.100.10")}


def test_only_the_primary_acts(fresh: Place) -> None:
    fresh.server.add("zone example.com", "update add inst1.example.com 300 A 198.51.100.10")
    fresh.hook("stop-hook-post-1", GANETI_POST_INSTANCE_PRIMARY="node2.example.com")
    assert fresh.content() == {FORWARD: forward("inst1", "198.51.100.10")}
    assert "is on node2.example.com" in fresh.log()


def test_modify_takes_the_names_of_a_nic_that_vanished(fresh: Place) -> None:
    fresh.up(ENV)
    fresh.up(SECOND)
    fresh.settle()
    fresh.hook("modify-nohotplug-hook-post-1", GANETI_POST_INSTANCE_NIC_COUNT="1")
    assert fresh.content() == registered(INST1)


def test_modify_changes_what_does_not_run_here(fresh: Place) -> None:
    fresh.up(ENV)
    fresh.node.ip("link del tap0")
    fresh.taps.clear()
    fresh.hook(
        "modify-nohotplug-hook-post-1",
        GANETI_POST_INSTANCE_NIC0_IP="198.51.100.77",
        GANETI_POST_INSTANCE_NIC_COUNT="1",
    )
    assert fresh.content() == registered(("inst1", "77", INST1[2]))


def test_rename_moves_the_names_of_all_nics(fresh: Place) -> None:
    fresh.up(ENV)
    fresh.up(SECOND)
    fresh.settle()
    fresh.hook("rename-hook-post-1")
    found = fresh.content()
    assert set(found[FORWARD]) == {"inst1b"} and len(found[FORWARD]["inst1b"]) == 4
    assert {
        record
        for names in (found[REVERSE4], found[REVERSE6])
        for records in names.values()
        for record in records
    } == {"PTR inst1b.example.com."}


def test_a_name_of_somebody_else_is_neither_taken_nor_deleted(fresh: Place) -> None:
    foreign = forward("inst1", "192.0.2.99")
    fresh.server.add("zone example.com", "update add inst1.example.com 300 A 192.0.2.99")
    fresh.server.add(f"zone {REVERSE4}", f"update add 2.{REVERSE4} 300 PTR printer.example.com.")
    fresh.up(ENV)
    fresh.up(environment("hotplug-add-routed-ifup-1"))
    found = fresh.content()
    assert found[FORWARD]["inst1"] == foreign["inst1"] and found[REVERSE4] == {
        "2": {"PTR printer.example.com."}
    }
    assert "inst1.example.com: parked" in fresh.log() and "somebody else's" in fresh.log()
    assert fresh.log().count(": parked: ") == 2
    fresh.hook("stop-hook-post-1")
    assert fresh.content()[FORWARD]["inst1"] == foreign["inst1"]


def test_a_mark_of_another_cluster_is_respected_and_an_equal_unmarked_name_is_adopted(fresh: Place) -> None:
    fresh.node.write("/var/lib/ganeti/ssconf_cluster_name", "other.example.org\n")
    fresh.up(ENV)
    before = fresh.content()
    fresh.node.run("sh", "-c", "rm -r /var/lib/snf-network/dns /var/lib/ganeti/ssconf_cluster_name")
    fresh.up(ENV, IP="198.51.100.11")
    assert fresh.content() == before
    assert "inst1.example.com: parked" in fresh.log()
    fresh.server.add("zone example.com", "update add inst2.example.com 300 A 198.51.100.2")
    fresh.up(environment("hotplug-add-routed-ifup-1"))
    assert fresh.content()[FORWARD]["inst2"] == registered(INST2)[FORWARD]["inst2"]
    assert any(record.startswith("DHCID ") for record in fresh.server.content(FORWARD)["inst2"])


def test_other_records_of_a_name_stay(fresh: Place) -> None:
    fresh.up(ENV)
    fresh.settle()
    fresh.server.add("zone example.com", "update add inst1.example.com 300 MX 10 mail.example.net.")
    fresh.hook("stop-hook-post-1")
    assert fresh.content() == {FORWARD: {"inst1": {"MX 10 mail.example.net."}}}


def test_a_wildcard_is_nobodys_name(fresh: Place) -> None:
    fresh.server.add("zone example.com", "update add *.example.com 300 A 192.0.2.1")
    fresh.up(ENV)
    assert fresh.content()[FORWARD] == {**registered(INST1)[FORWARD], "*": {"A 192.0.2.1"}}


def test_a_wildcard_alias_is_nobodys_name_and_an_alias_of_a_name_is_somebodys(fresh: Place) -> None:
    fresh.server.add("zone example.com", "update add *.example.com 300 CNAME www.example.net.")
    fresh.up(ENV)
    assert fresh.content()[FORWARD] == {**registered(INST1)[FORWARD], "*": {"CNAME www.example.net."}}
    fresh.server.add("zone example.com", "update add inst2.example.com 300 CNAME www.example.net.")
    fresh.up(environment("hotplug-add-routed-ifup-1"))
    assert fresh.content()[FORWARD]["inst2"] == {"CNAME www.example.net."}
    assert "inst2.example.com: parked: inst2.example.com. is somebody else's" in fresh.log()


def test_a_wildcard_with_the_same_address_is_nobodys_name(fresh: Place) -> None:
    fresh.server.add("zone example.com", "update add *.example.com 300 A 198.51.100.10")
    fresh.up(ENV)
    assert fresh.content()[FORWARD] == {**registered(INST1)[FORWARD], "*": {"A 198.51.100.10"}}
    fresh.hook("stop-hook-post-1")
    assert fresh.content() == {FORWARD: {"*": {"A 198.51.100.10"}}}


def test_an_address_that_changed_hands_within_the_cluster_gets_its_new_name(fresh: Place) -> None:
    fresh.up(ENV)
    fresh.settle()
    fresh.node.run("rm", "-r", "/var/lib/snf-network/dns")  # as if another node had done it
    fresh.node.ip("link del tap0")
    fresh.taps.clear()
    fresh.up(ENV, INSTANCE="inst9.example.com", INTERFACE_UUID="9")
    found = fresh.content()
    assert found[REVERSE4] == {"10": {"PTR inst9.example.com."}}
    fresh.hook("stop-hook-post-1")
    assert fresh.content() == registered(("inst9", *INST1[1:]))


def test_a_classless_reverse_zone_is_named_in_dns_yaml(fresh: Place) -> None:
    fresh.up(CLASSED)
    fresh.settle()
    assert "7.113.0.203.in-addr.arpa: parked: 7.113.0.203.in-addr.arpa. is an alias" in fresh.log()
    fresh.node.write("/etc/snf-network/dns.yaml", CLASSLESS_YAML)
    fresh.up(CLASSED)
    assert fresh.content()[CLASSLESS] == {"7": {"PTR inst1.example.com."}}
    fresh.hook("stop-hook-post-1")
    assert fresh.content() == {}


def test_bad_names_and_missing_zones_are_parked_with_the_reason(fresh: Place) -> None:
    fresh.up(
        ENV,
        INSTANCE="in_st1.example.com",
        IP="192.0.2.7",
        NETWORK_SUBNET="192.0.2.0/24",
        NETWORK_GATEWAY="192.0.2.1",
    )
    fresh.up(
        ENV,
        INTERFACE="tap3",
        INSTANCE="inst3.example.com",
        INTERFACE_UUID="3",
        IP="192.0.2.9",
        NETWORK_SUBNET="192.0.2.0/24",
        NETWORK_GATEWAY="192.0.2.1",
        MAC="aa:00:00:00:00:03",
    )
    found = fresh.content()
    assert found[FORWARD] == forward("inst3", "192.0.2.9", "2001:db8:1:0:a800:ff:fe00:3")
    assert REVERSE4 not in found
    said = fresh.node.out(ROOT / "scripts" / "snf-network", "dns", "list")
    assert "'in_st1' is no part of a host name" in said
    assert "has no zone for 9.2.0.192.in-addr.arpa" in said


def test_txt_marks_if_configured(fresh: Place) -> None:
    fresh.node.write("/etc/snf-network/dns.yaml", "mark: txt\nowner: cluster1\n")
    fresh.up(ENV)
    fresh.settle()
    assert 'TXT "snf-network=cluster1/inst1.example.com"' in fresh.server.content(FORWARD)["inst1"]
    fresh.hook("stop-hook-post-1")
    fresh.settle()
    assert fresh.server.content(FORWARD) == {}


def test_a_bad_key_and_a_refusal_are_parked_and_retried_when_asked(fresh: Place) -> None:
    fresh.node.write("/etc/bind/ddns.key", 'key "wrong" { algorithm hmac-sha256; secret "AAAA"; };')
    fresh.up(ENV)
    assert fresh.content() == {}
    assert "does not accept the key wrong.: BADKEY" in fresh.log()
    configure(fresh.node)
    said = fresh.node.run(ROOT / "scripts" / "snf-network", "dns", "retry", "inst1.example.com")
    assert "all names are as wanted" in said.stdout
    assert fresh.content() == registered(INST1)


def test_without_a_key_the_server_must_know_the_address(fresh: Place) -> None:
    """AUTHENTICATION_METHOD=plain."""
    configure(fresh.node, "AUTHENTICATION_METHOD=plain", "KEYFILE=")
    fresh.up(ENV)
    assert fresh.content() == {}
    assert "does not let us update inst1.example.com. in example.com.: REFUSED" in fresh.log()
    fresh.server.open()
    assert (
        "all names are as wanted" in fresh.node.run(ROOT / "scripts" / "snf-network", "dns", "retry").stdout
    )
    assert fresh.content() == registered(INST1)
    fresh.up(SECOND)
    fresh.node.script("kvm-ifdown-custom", ENV, "tap0", "False")
    assert fresh.content() == registered(("inst1", *INST2[1:]))
    fresh.server.add(
        "zone example.com", "update delete inst1.example.com", "update add inst1.example.com 60 A 192.0.2.99"
    )
    fresh.hook("stop-hook-post-1")
    assert fresh.content() == {FORWARD: forward("inst1", "192.0.2.99")}, (
        "others' records are as safe as with a key"
    )


def test_the_second_of_two_servers_is_asked_if_the_first_is_silent(fresh: Place) -> None:
    fresh.node.write("/etc/snf-network/dns.yaml", "servers: [10.53.0.77, 10.53.0.1]\ntimeout: 0.2\n")
    fresh.up(ENV)
    assert fresh.content() == registered(INST1)


def test_nobody_waits_for_a_server_that_swallows_packets(fresh: Place) -> None:
    fresh.server.swallow(True)
    fresh.tap("tap0")
    fresh.node.run(
        "timeout",
        "4",
        "sh",
        "-c",
        'exec "$@" | cat',
        "sh",
        "env",
        "-i",
        *(f"{key}={value}" for key, value in ENV.items()),
        ROOT / "scripts" / "kvm-ifup-custom",
    )
    assert until(lambda: "waiting" in fresh.node.read("/var/lib/snf-network/dns/known/inst1.example.com"), 20)
    fresh.server.swallow(False)
    assert fresh.content() == registered(INST1)


def test_an_answer_too_long_for_udp_is_asked_for_over_tcp(fresh: Place) -> None:
    fresh.server.add(
        "zone example.com",
        *(f"update add inst1.example.com 300 A 192.0.2.{number}" for number in range(1, 100)),
    )
    fresh.up(ENV)
    assert len(fresh.content()[FORWARD]["inst1"]) == 99
    assert "inst1.example.com: parked" in fresh.log()


def test_of_many_at_once_none_is_lost(fresh: Place) -> None:
    """Each starts a sender, and one works: whoever notes something while it ends must not be left waiting."""
    wanted, running = [], []
    for number in range(20, 36):
        mac = f"aa:00:00:00:01:{number}"
        env = {
            **ENV,
            "INTERFACE": f"tap{number}",
            "INSTANCE": f"many{number}.example.com",
            "IP": f"198.51.100.{number}",
            "MAC": mac,
            "INTERFACE_UUID": str(number),
        }
        fresh.tap(env["INTERFACE"])
        words = [f"{key}={value}" for key, value in env.items()]
        running.append(
            subprocess.Popen(fresh.node.command("env", "-i", *words, ROOT / "scripts" / "kvm-ifup-custom"))
        )
        wanted.append((f"many{number}", str(number), f"a800:ff:fe00:1{number}"))
    assert [process.wait(30) for process in running] == [0] * len(wanted)
    assert fresh.content() == registered(*wanted)


def test_a_script_and_a_hook_wait_for_one_fsync(fresh: Place) -> None:
    """A rename of what still has names puts both files in place before the first fsync: that commits both,
    and the second finds it done.
    """
    fresh.tap("tap0")
    here = {"GANETI_POST_INSTANCE_PRIMARY": os.uname().nodename}
    old = Names("inst1.example.com", "nic", "pub1", ("198.51.100.10",))
    calls = [
        ("kvm-ifup-custom", ENV, 1),
        ("kvm-ifdown-custom", ENV, 1),
        ("snf-network-dnshook", environment("modify-nohotplug-hook-post-1", **here), 1),
        ("snf-network-dnshook", environment("stop-hook-post-1", **here), 1),
        ("snf-network-dnshook", environment("rename-hook-post-1", **here), 1),
    ]
    for program, env, count in calls:
        assert len(syncs(fresh, program, env)) == count, (program, env.get("GANETI_OP_CODE"))
    Spool(fresh.state).up(old)
    assert syncs(fresh, "snf-network-dnshook", environment("rename-hook-post-1", **here)) == [
        "rename",
        "rename",
        "sync",
        "sync",
    ]


def syncs(place: Place, program: str, env: dict[str, str]) -> list[str]:
    """The calls of a program that wait for a disk; with two or more, also those that they are there for."""
    place.node.run(
        "strace",
        "-y",
        "-o",
        "/mnt/trace",
        "-e",
        "trace=fsync,fdatasync,sync,syncfs,/^rename",
        "env",
        "-i",
        *(f"{key}={value}" for key, value in env.items()),
        ROOT / "scripts" / program,
    )
    trace = [line for line in place.node.read("/mnt/trace").splitlines() if "/__pycache__/" not in line]
    found = [
        "sync" if "sync" in line.partition("(")[0] else "rename"
        for line in trace
        if "sync(" in line or "/dns/wanted/" in line
    ]
    return found if found.count("sync") > 1 else ["sync"] * found.count("sync")


def test_reverse_zones_of_any_length_are_found(fresh: Place) -> None:
    for zone in (
        "0.198.in-addr.arpa",
        "18.198.in-addr.arpa",
        "203.in-addr.arpa",
        "8.b.d.0.1.0.0.2.ip6.arpa",
        "f.8.b.d.0.1.0.0.2.ip6.arpa",
    ):
        fresh.server.zone(zone, ZONE, fresh.server.policy)
    fresh.server.stop()
    fresh.server.start()
    spool = Spool(fresh.state)
    places = {
        "198.18.1.2": ("18.198.in-addr.arpa", "2.1"),
        "203.5.6.7": ("203.in-addr.arpa", "7.6.5"),
        "2001:db8:e::1": ("8.b.d.0.1.0.0.2.ip6.arpa", ""),
        "2001:db8:f000::1": ("f.8.b.d.0.1.0.0.2.ip6.arpa", ""),
    }
    for number, address in enumerate(places):
        spool.up(Names(f"inst{number}.example.com", "a", "pub1", (address,)))
    fresh.node.run(ROOT / "scripts" / "snf-network-dnssend")
    for number, (address, (zone, name)) in enumerate(places.items()):
        name = name or reverse(address).removesuffix(f".{zone}")
        assert fresh.server.names(zone) == {name: {f"PTR inst{number}.example.com."}}


def test_hostile_hooks_touch_nothing(fresh: Place) -> None:
    for name in ("../../../etc/passwd", ".hidden", "a\nb", "$(id)", "x" * 254):
        fresh.hook("stop-hook-post-1", GANETI_INSTANCE_NAME=name, GANETI_POST_INSTANCE_NAME=name)
    assert fresh.content() == {}
