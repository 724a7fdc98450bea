"""Nothing is lost: a server that is down for an hour, senders killed at every step, a full disk. The clock is
faked, BIND is real.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from snf_network.dns import registry, send
from snf_network.dns.registry import Registry
from snf_network.errors import KernelError
from snf_network.model.names import Names
from tests.dns.lab import FORWARD, REVERSE4
from tests.dns.sending import Node, killed

OPERATIONS, HOUR = 500, 3600.0


def operate(node: Node, chance: random.Random) -> None:
    """One thing that an operator may do."""
    used = {address for nics in node.model.values() for address in nics.values()}
    free = [f"198.51.100.{octet}" for octet in range(2, 120) if f"198.51.100.{octet}" not in used]
    instance = f"inst{chance.randrange(40)}.example.com"
    nics = node.model.get(instance, {})
    what = chance.random()
    if what < 0.5:
        node.up(instance, f"nic{chance.randrange(2)}", chance.choice(free))
    elif what < 0.7 and nics:
        node.down(instance, chance.choice(sorted(nics)))
    elif what < 0.9:
        node.stop(instance)
    elif nics:
        node.up(instance, (nic := chance.choice(sorted(nics))), nics[nic])  # a reboot


def test_an_hour_without_a_server_and_each_name_is_updated_once(node: Node) -> None:
    chance = random.Random(5)
    for _ in range(60):
        operate(node, chance)
    node.send()
    assert node.zones() == node.expected()
    node.place.server.stop()
    tried = 0
    for number in range(OPERATIONS):
        operate(node, chance)
        node.now += HOUR / OPERATIONS
        if number % 10 == 0 and node.sender().due() <= node.now:
            tried += 1
            if tried % 4 == 0:
                killed(node, tried % 7)
            else:
                node.send()
    assert any("waiting" in line for line in node.said)
    node.place.server.start()
    node.said.clear()
    node.now += registry.LONGEST
    serial = node.place.server.serial(FORWARD)
    node.send()
    assert node.zones() == node.expected()
    updated = Counter(line.partition(":")[0] for line in node.said)
    assert updated and set(updated.values()) == {1}
    assert node.place.server.serial(FORWARD) == serial + 1, "one UPDATE for all names of the zone"
    node.send(registry.LONGEST)
    assert Counter(line.partition(":")[0] for line in node.said) == updated


def test_a_sender_killed_at_any_step_leaves_nothing_behind(node: Node) -> None:
    step, finished = 0, 0
    while finished < 2:
        node.up("inst1.example.com", "a", f"198.51.100.{step % 50 + 10}")
        node.up("inst2.example.com", "a", f"198.51.100.{step % 50 + 100}")
        if step % 2:
            node.down("inst2.example.com", "a")
        node.up("inst3.example.com", "a", "198.51.100.3")
        if step % 3 == 0:
            node.stop("inst3.example.com")
        if not killed(node, step):
            finished += 1
        node.send()
        assert node.zones() == node.expected(), f"step {step}"
        step += 1
    assert step > 20
    for instance in list(node.model):
        node.stop(instance)
    node.send()
    assert (
        node.zones() == node.expected() and not list(Registry(str(node.directory))) and not list(node.spool)
    )


def test_a_newer_state_that_comes_while_an_older_one_is_sent_is_sent_after_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.up("inst1.example.com", "a", "198.51.100.10")
    update = send.Server.update

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(send.Server, "update", update)
        node.stop("inst1.example.com")
        node.up("inst2.example.com", "a", "198.51.100.10")
        return update(*arguments)

    monkeypatch.setattr(send.Server, "update", meanwhile)
    node.send()
    assert node.zones() == node.expected()


def test_an_instance_that_leaves_while_it_is_sent_is_not_remembered(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.up("inst1.example.com", "a", "198.51.100.10")
    update = send.Server.update

    def meanwhile(*arguments: Any) -> Any:
        node.spool.leave("inst1.example.com")
        return update(*arguments)

    monkeypatch.setattr(send.Server, "update", meanwhile)
    node.send()
    node.send()
    assert node.zones() == node.expected() and not list(Registry(str(node.directory)))


def test_a_full_disk_loses_nothing_that_was_promised(node: Node) -> None:
    place = node.place
    place.node.run("sh", "-c", "mkdir -p /var/lib/small && mount -t tmpfs -o size=200k tmpfs /var/lib/small")
    small = Node(place, Path(f"/proc/{place.node.holder.pid}/root/var/lib/small"))
    for number in range(1, 6):
        small.up(f"inst{number}.example.com", "a", f"198.51.100.{number}")
    small.send()
    assert small.zones() == small.expected()
    fill = "dd if=/dev/zero of=/var/lib/small/filler$0 bs=4k || :"
    place.node.run("sh", "-c", fill, "1")
    with pytest.raises(KernelError, match="No space left"):
        small.spool.up(Names("inst6.example.com", "a", "pub1", ("198.51.100.6",)))
    small.stop("inst1.example.com")  # needs no space
    place.node.run("sh", "-c", fill, "2")
    with pytest.raises(KernelError, match="No space left"):
        small.send()
    assert small.zones()[FORWARD]["inst1"], "nothing is sent that could not be remembered"
    place.node.run("sh", "-c", "rm /var/lib/small/filler*")
    small.up("inst6.example.com", "a", "198.51.100.6")
    small.send()
    assert small.zones() == small.expected()
    place.node.run("umount", "-l", "/var/lib/small")


def test_backoff_doubles_to_ten_minutes_and_a_new_state_does_not_wait(node: Node) -> None:
    node.place.server.stop()
    node.up("inst1.example.com", "a", "198.51.100.10")
    waits = []
    for _ in range(12):
        node.send()
        waits.append(node.sender().due() - node.now)
        node.now = node.sender().due()
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    node.up("inst1.example.com", "a", "198.51.100.11")
    assert node.sender().due() <= node.now
    node.place.server.start()


def test_a_spool_cut_off_by_a_crash_is_not_believed(node: Node) -> None:
    node.up("inst1.example.com", "a", "198.51.100.10")
    path = Path(node.spool.path("inst1.example.com"))
    path.write_text(path.read_text().removesuffix("end\n"))
    node.send()
    assert node.zones()[FORWARD] == {"www": {"A 192.0.2.80"}}
    node.up("inst1.example.com", "a", "198.51.100.10")
    node.send()
    assert node.zones() == node.expected()
    shutil.rmtree(node.directory / "dns")


def test_a_refused_batch_is_split_until_only_the_offending_name_is_parked(node: Node) -> None:
    node.place.server.add(f"zone {FORWARD}", "update add inst7.example.com 60 TXT somebody")
    for number in range(2, 22):
        node.up(f"inst{number}.example.com", "a", f"198.51.100.{number}")
    node.send()
    del node.model["inst7.example.com"]
    expected = node.expected()
    expected[FORWARD]["inst7"] = {'TXT "somebody"'}
    assert node.zones() == expected
    troubles = {
        name: trouble.state
        for known in Registry(str(node.directory))
        for name, trouble in known.troubles.items()
    }
    assert troubles == {"inst7.example.com": "parked"}
    assert node.sender().due() == registry.NEVER


def test_an_address_given_twice_is_that_of_the_first(node: Node) -> None:
    node.up("inst1.example.com", "a", "198.51.100.10")
    node.now += 1
    node.spool.up(Names("inst2.example.com", "a", "pub1", ("198.51.100.10",)))
    for _ in range(2):
        node.send()
        zones = node.zones()
        assert zones[REVERSE4] == node.expected()[REVERSE4]
        assert zones[FORWARD]["inst1"] == zones[FORWARD]["inst2"] == {"A 198.51.100.10"}
        troubles = {known.instance: list(known.troubles) for known in Registry(str(node.directory))}
        assert troubles == {"inst1.example.com": [], "inst2.example.com": [f"10.{REVERSE4}"]}
        node.spool.up(Names("inst2.example.com", "a", "pub1", ("198.51.100.10",)))
    node.stop("inst1.example.com")
    node.spool.up(Names("inst2.example.com", "a", "pub1", ("198.51.100.10",)))
    node.send()
    assert node.zones()[REVERSE4]["10"] == {"PTR inst2.example.com."}
