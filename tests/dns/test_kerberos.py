"""GSS-TSIG: a real KDC, a BIND with its keytab, and a node that has only its own keytab."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.dns.lab import ADDRESS, FORWARD, NameServer, Place, configure, registered
from tests.netns.lab import ROOT, Lab, Machine, environment, until

REALM = "EXAMPLE.NET"
KRB5 = f"""[libdefaults]
 default_realm = {REALM}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 udp_preference_limit = 1
[realms]
 {REALM} = {{
  kdc = {ADDRESS}:88
 }}
[domain_realm]
 .example.net = {REALM}
"""
KDC = f"""[kdcdefaults]
 kdc_listen = {ADDRESS}:88
 kdc_tcp_listen = {ADDRESS}:88
[realms]
 {REALM} = {{
  database_name = /var/lib/krb5kdc/principal
  key_stash_file = /var/lib/krb5kdc/stash
  acl_file = /var/lib/krb5kdc/kadm5.acl
  supported_enctypes = aes256-cts:normal
 }}
"""
POLICY = f'update-policy {{ grant "node1@{REALM}" zonesub any; }};'
HOSTS = f"127.0.0.1 localhost\n{ADDRESS} ns.example.net ns\n10.53.0.2 node1.example.net node1\n"


def kdc(machine: Machine) -> subprocess.Popen[bytes]:
    """A new realm; its KDC runs until it is ended."""
    machine.write("/etc/krb5.conf", KRB5)
    machine.write("/etc/krb5kdc/kdc.conf", KDC)
    machine.write("/etc/hosts", HOSTS)
    machine.run("sh", "-c", "rm -rf /var/lib/krb5kdc; mkdir -p /var/lib/krb5kdc")
    machine.run("kdb5_util", "create", "-s", "-r", REALM, "-P", "nobody knows", timeout=60)
    for name, keytab in (
        ("DNS/ns.example.net", "/etc/bind/dns.keytab"),
        ("other", "/etc/other.keytab"),
        ("node1", "/etc/node1.keytab"),
    ):
        machine.run("kadmin.local", "-r", REALM, "addprinc", "-randkey", name)
        machine.run("kadmin.local", "-r", REALM, "ktadd", "-k", keytab, name)
    return subprocess.Popen(
        machine.command("krb5kdc", "-n", "-r", REALM),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def realm(root: None) -> Iterator[Place]:
    lab = Lab()
    node = lab.node("node1", lab.router())
    server = NameServer(lab, node, POLICY, 'tkey-gssapi-keytab "/etc/bind/dns.keytab";')
    running = None
    try:
        running = kdc(server.machine)
        node.write("/etc/hosts", HOSTS)
        node.write("/etc/krb5.conf", KRB5)
        for keytab in ("node1", "other"):
            node.run(
                "sh",
                "-c",
                f"base64 -d > /etc/{keytab}.keytab",
                input=server.machine.out("base64", f"/etc/{keytab}.keytab"),
            )
        assert until(lambda: "LISTEN" in server.machine.out("ss", "-tln", "sport", "=", "88"), 10)
        yield Place(lab, node, server)
    finally:
        server.stop()
        if running:
            running.kill()
            running.wait(10)
        lab.close()


@pytest.fixture
def place(realm: Place) -> Place:
    realm.clean()
    realm.server.start()
    return realm


def settings(place: Place, *lines: str) -> None:
    configure(place.node, "SERVER=ns.example.net", "AUTHENTICATION_METHOD=kerberos", *lines)


ENV = environment("add-routed-ifup-1")


@pytest.mark.parametrize("principal", ["", f"KERBEROS_PRINCIPAL=node1@{REALM}"])
def test_a_keytab_is_all_it_takes(place: Place, principal: str) -> None:
    settings(place, "KERBEROS_KEYTAB=/etc/node1.keytab", principal)
    place.up(ENV)
    assert place.content() == registered(("inst1", "10", "a800:ff:fead:35c9")), (
        place.log() + place.server.said()[-2000:]
    )
    assert place.node.read("/var/lib/snf-network/snf-network-kerberos.tkt")
    place.hook("stop-hook-post-1")
    assert place.content() == {}


def test_a_foreign_name_is_not_taken(place: Place) -> None:
    settings(place, "KERBEROS_KEYTAB=/etc/node1.keytab")
    place.node.run(
        "sh",
        "-c",
        "KRB5CCNAME=FILE:/var/t kinit -k -t /etc/node1.keytab node1; KRB5CCNAME=FILE:/var/t nsupdate -g",
        input=f"server ns.example.net\nzone {FORWARD}\nupdate add inst1.{FORWARD} 60 A 192.0.2.99\nsend\n",
    )
    place.up(ENV)
    assert place.content() == {FORWARD: {"inst1": {"A 192.0.2.99"}}}
    assert "somebody else's" in place.log()


def test_another_principal_is_refused_and_a_missing_keytab_waits(place: Place) -> None:
    settings(place, "KERBEROS_KEYTAB=/etc/other.keytab")
    place.up(ENV)
    assert place.content() == {}
    assert "does not let us update inst1.example.com. in example.com.: REFUSED" in place.log()
    settings(place, "KERBEROS_KEYTAB=/etc/none.keytab")
    place.node.run("rm", "/var/lib/snf-network/snf-network-kerberos.tkt")
    said = place.node.run(ROOT / "scripts" / "snf-network", "dns", "retry", check=False)
    assert said.returncode == 1 and "waiting" in said.stdout and "keytab" in said.stdout
