"""snf-network dns, on a node with a real BIND."""

from __future__ import annotations

import json
from typing import Any

from tests.dns.lab import FORWARD, REVERSE4, Place, configure, forward, registered
from tests.netns.lab import ROOT, environment

ENV = environment("add-routed-ifup-1")
INST1 = ("inst1", "10", "a800:ff:fead:35c9")


def dns(place: Place, *words: str) -> tuple[int, str]:
    ran = place.node.run(ROOT / "scripts" / "snf-network", "dns", *words, check=False)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode, ran.stdout + ran.stderr


def facts(place: Place, *words: str) -> Any:
    return json.loads(dns(place, *words, "--json")[1])


def hold(place: Place) -> None:
    """Nothing reaches the server."""
    place.node.write("/etc/snf-network/dns.yaml", "timeout: 0.1\n")
    place.server.swallow(True)


def go(place: Place) -> None:
    place.server.swallow(False)


def test_pending_is_listed_planned_and_flushed(fresh: Place) -> None:
    assert dns(fresh, "list") == (0, "NAME  STATE  INSTANCE  AGE  TRIES  REASON\n")
    hold(fresh)
    fresh.up(ENV)
    fresh.settle()
    row = facts(fresh, "list")[0]
    assert (row["name"], row["state"], row["instance"]) == (
        "inst1.example.com",
        "waiting",
        "inst1.example.com",
    ) and row["tries"] > 0
    assert "10.53.0.1" in row["reason"]
    assert dns(fresh, "flush")[0] == 1
    go(fresh)
    status, said = dns(fresh, "plan")
    assert status == 0 and "zone example.com.\nprereq nxdomain inst1.example.com.\n" in said
    assert "update add inst1.example.com. 300 A 198.51.100.10\n" in said
    assert {update["zone"] for update in facts(fresh, "plan")["updates"]} > {"example.com.", f"{REVERSE4}."}
    assert fresh.server.names(FORWARD) == {}, "a plan sends nothing"
    status, said = dns(fresh, "flush")
    assert (
        status == 0
        and "inst1.example.com: +198.51.100.10" in said
        and said.endswith("all names are as wanted\n")
    )
    assert {row["state"] for row in facts(fresh, "list")} == {"registered"} and dns(fresh, "plan")[
        1
    ] == "; nothing to send\n"


def test_audit_tells_missing_stale_foreign_and_gone_and_sync_mends(fresh: Place) -> None:
    fresh.up(ENV)
    assert fresh.content() == registered(INST1) and dns(fresh, "audit") == (0, "clean\n")
    fresh.server.add(
        "zone example.com",
        "update delete inst1.example.com A",
        "update add inst1.example.com 60 A 198.51.100.66",
    )
    fresh.server.add(
        f"zone {REVERSE4}",
        f"update delete 10.{REVERSE4} PTR",
        f"update add 10.{REVERSE4} 60 PTR printer.example.com.",
    )
    found = {(row["kind"], row["name"], row["what"]) for row in facts(fresh, "audit")}
    assert found == {
        ("missing", "inst1.example.com", "A 198.51.100.10"),
        ("stale", "inst1.example.com", "A 198.51.100.66"),
        ("foreign", f"10.{REVERSE4}", "PTR printer.example.com."),
    }
    assert dns(fresh, "audit")[0] == 1
    assert fresh.server.names(FORWARD)["inst1"] >= {"A 198.51.100.66"}, "an audit sends nothing"
    status, said = dns(fresh, "sync")
    assert status == 1 and "somebody else's" in said
    fresh.server.add(f"zone {REVERSE4}", f"update delete 10.{REVERSE4} PTR")
    assert dns(fresh, "retry", "inst1.example.com")[0] == 0
    assert fresh.content()[REVERSE4] == registered(INST1)[REVERSE4]
    fresh.node.ip("link del tap0")
    fresh.taps.clear()
    assert [row["kind"] for row in facts(fresh, "audit")].count("gone") == 1
    assert dns(fresh, "sync")[0] == 0 and FORWARD in fresh.content()
    assert dns(fresh, "sync", "--gone")[0] == 0 and FORWARD not in fresh.content()


def test_sync_registers_what_was_never_noted(fresh: Place) -> None:
    configure(fresh.node, "SERVER=")
    fresh.up(ENV)
    configure(fresh.node)
    assert dns(fresh, "sync")[0] == 0
    assert fresh.content()[FORWARD] == forward("inst1", "198.51.100.10", "2001:db8:1:0:a800:ff:fead:35c9")


def test_without_a_server_or_with_a_bad_file_it_is_one_line(fresh: Place) -> None:
    configure(fresh.node, "SERVER=")
    assert dns(fresh, "list") == (
        1,
        "snf-network: DNS updates are off on this node (SERVER and AUTHENTICATION_METHOD, or "
        "/etc/snf-network/dns.yaml)\n",
    )
    fresh.node.write("/etc/snf-network/dns.yaml", "zones:\n  a.example: {tll: 3}\n")
    status, said = dns(fresh, "list")
    assert (
        status == 1
        and said.startswith("snf-network: /etc/snf-network/dns.yaml:2: unknown setting 'tll'")
        and said.count("\n") == 1
    )
    fresh.node.run("ln", "-sf", "/etc/hosts", "/etc/snf-network/dns.yaml")
    assert dns(fresh, "list") == (
        1,
        "snf-network: /etc/snf-network/dns.yaml cannot be read (a regular file, and no link to one)\n",
    )
    fresh.node.run("rm", "/etc/snf-network/dns.yaml")
    configure(fresh.node, "SERVER=ns:99999")
    assert dns(fresh, "list")[1].startswith("snf-network: SERVER='ns:99999' is no name server (")


def test_what_cannot_be_believed_is_listed(fresh: Place) -> None:
    fresh.node.run(
        "sh",
        "-c",
        "mkdir -p /var/lib/snf-network/dns/wanted; echo nonsense > /var/lib/snf-network/dns/wanted/inst1",
    )
    assert [(row["instance"], row["state"]) for row in facts(fresh, "list")] == [("'inst1'", "unreadable")]


def test_retry_tries_what_it_was_told_to_and_nothing_else(fresh: Place) -> None:
    hold(fresh)
    fresh.up(ENV)
    fresh.up(environment("hotplug-add-routed-ifup-1"))
    fresh.settle()
    go(fresh)
    status, said = dns(fresh, "retry", "nosuch")
    assert (status, said.count("\n")) == (1, 1) and "'nosuch' is no instance and no name of this node" in said
    assert FORWARD not in fresh.server.names(FORWARD) and fresh.server.names(FORWARD) == {}
    assert "inst1" in dns(fresh, "retry", "inst1.example.com")[1]
    assert set(fresh.server.names(FORWARD)) == {"inst1"}


def test_what_hinders_dns_is_told_without_asking_a_server(fresh: Place) -> None:
    def told() -> str:
        ran = fresh.node.script("snf-network", {}, "check", check=False)
        lines = [line for line in ran.stdout.splitlines() if line.startswith("dns")]
        assert ran.returncode == 1 or not lines
        return "".join(lines)

    assert told() == ""
    fresh.node.write("/etc/snf-network/dns.yaml", "zones:\n  a.example: {key: /etc/none}\n")
    assert (
        told()
        == "dns        -               /etc/none cannot be read (KEYFILE, or key in dns.yaml: a regular file)"
    )
    fresh.node.write("/etc/snf-network/dns.yaml", "zones: [\n")
    assert told().startswith("dns        -               /etc/snf-network/dns.yaml:2: ")
