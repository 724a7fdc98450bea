"""Network boot: which file each client gets, and the frames of clients that are not in Debian."""

from __future__ import annotations

from socket import inet_aton
from typing import Any

import pytest

from snf_network.dhcpd import boot
from snf_network.dhcpd.answers import Answerer
from snf_network.values import CLIENTS
from tests.dhcpd.clients import CLIENT_ID, answer, dhcp6, guest, ia_na, option, option6, with_
from tests.dhcpd.test_dhcp4 import options_of, reply

FILES = {
    "bios": "undionly.kpxe",
    "efi64": "snponly.efi",
    "http-efi64": "http://192.0.2.7/snponly.efi",
    "ipxe": "http://192.0.2.7/menu.ipxe",
    "any": "pxelinux.0",
}
BOOT = ", ".join(f"{client} {file}" for client, file in FILES.items())
BOOT6 = "efi64 tftp://[2001:db8::7]/snponly.efi, http http://boot.example.com/a.efi, ipxe http://[2001:db8::7]/menu"
GUEST = guest(with_(NEXT_SERVER="192.0.2.7", BOOT=BOOT, BOOT6=BOOT6))
OF_EDK2 = bytes(
    (1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97)
)


def firmware(
    architecture: int, vendor: str = "PXEClient", more: bytes = b"", wishes: bytes = OF_EDK2
) -> bytes:
    """The options of firmware, in the order of EDK II."""
    name = f"{vendor}:Arch:{architecture:05}:UNDI:003001".encode()
    identity = option(97, bytes(17)) + option(94, b"\1\3\1") + option(93, architecture.to_bytes(2, "big"))
    return option(57, b"\5\xc0") + option(55, wishes) + identity + option(60, name) + more


IPXE = option(77, b"iPXE") + option(175, b"\xb1\5\1\x80\x86\x10\x0e")
ASKED = {
    "BIOS": (firmware(0), "bios"),
    "UEFI of x86-64": (firmware(7), "efi64"),
    "the same by the number of RFC 4578": (firmware(9), "efi64"),
    "UEFI of ARM": (firmware(11), "any"),
    "iPXE": (firmware(0, more=IPXE), "ipxe"),
    "iPXE under UEFI": (firmware(7, more=IPXE), "ipxe"),
    "iPXE, with a length as RFC 3004 has it": (firmware(7, more=option(77, b"\4iPXE")), "ipxe"),
    "another user class": (firmware(0, more=option(77, b"iPXE!")), "bios"),
    "UEFI that boots by HTTP": (firmware(16, "HTTPClient"), "http-efi64"),
    "the same by its vendor class alone": (firmware(7, "HTTPClient"), "http-efi64"),
    "UEFI of ARM that boots by HTTP": (firmware(19, "HTTPClient"), ""),
    "no architecture": (option(55, b"\1\3\x43"), "any"),
    "an unknown one": (firmware(999), "any"),
    "half of one": (option(93, b"\0"), "any"),
    "none": (option(93, b""), "any"),
}


@pytest.mark.parametrize("name", ASKED)
def test_each_client_gets_its_own_file(name: str) -> None:
    asked, kind = ASKED[name]
    for message in (1, 3):
        chosen = option(50, "198.51.100.10") + option(54, "192.0.2.1") if message == 3 else b""
        _, frame = reply(GUEST, kind=message, options=chosen + asked)
        found, file = options_of(frame), FILES.get(kind, "").encode()
        assert frame[150:278].rstrip(b"\0") == file and found.get(67, file) == file
        assert frame[62:66] == (inet_aton("192.0.2.7") if file else bytes(4))
        assert (67 in found) == (b"\x43" in asked and bool(file)), "only if asked for"
        assert found.get(66) == (b"192.0.2.7" if b"\x42" in asked and file else None)
        assert found.get(60) == (b"HTTPClient" if kind.startswith("http") else None)
        assert found.get(175) == (b"\xb0\1\1" if kind == "ipxe" else None)


def test_one_that_boots_by_http_takes_the_file_for_any_if_that_is_on_a_web_server() -> None:
    web = guest(with_(BOOT="https://boot.example.com/any.efi"))
    assert b"https://boot" in reply(web, options=firmware(16, "HTTPClient"))[1]


def test_a_guest_without_boot_files_and_a_refusal_have_none() -> None:
    assert reply(guest(), options=firmware(0))[1][62:66] == bytes(4)
    word, frame = reply(GUEST, kind=3, options=option(50, "198.51.100.99") + firmware(0))
    assert word == "nak" and frame[62:66] == bytes(4) and b"undionly" not in frame


def test_a_long_url_is_an_option_and_everything_fits() -> None:
    url = "http://192.0.2.7/" + "x" * 238
    everything = {
        "NAMESERVERS": ",".join(["192.0.2.9"] * 8),
        "ROUTES": ",".join(["10.0.0.0/8 via 198.51.100.2"] * 12),
    }
    _, frame = reply(guest(with_(BOOT=url, **everything)), options=option(93, b"\0\0"))
    found = options_of(frame)
    assert found[67] == url.encode() and frame[150:278] == bytes(128)
    assert len(frame) <= 14 + 28 + 548 and {51, 54, 58, 59, 1, 3} <= found.keys()


V6 = {
    "UEFI": ((7, b"PXEClient:Arch:00007", b""), "tftp://[2001:db8::7]/snponly.efi"),
    "UEFI that boots by HTTP": ((16, b"HTTPClient:Arch:00016", b""), "http://boot.example.com/a.efi"),
    "iPXE": ((7, b"", b"\0\4iPXE"), "http://[2001:db8::7]/menu"),
    "BIOS": ((0, b"", b""), ""),
}


def asks6(architecture: int, vendor: bytes, user: bytes, wishes: bytes = b"\0\x17\0\x3b\0\x3c") -> bytes:
    parts = (
        option6(6, wishes)
        + option6(61, architecture.to_bytes(2, "big"))
        + (option6(15, user) if user else b"")
    )
    return parts + (option6(16, b"\0\0\1\x57" + len(vendor).to_bytes(2, "big") + vendor) if vendor else b"")


def options6_of(frame: bytes) -> dict[int, bytes]:
    found, at = {}, 66
    while at < len(frame):
        size = int.from_bytes(frame[at + 2 : at + 4], "big")
        found[int.from_bytes(frame[at : at + 2], "big")] = frame[at + 4 : at + 4 + size]
        at += 4 + size
    return found


@pytest.mark.parametrize("name", V6)
def test_dhcpv6(name: str) -> None:
    asked, url = V6[name]
    for kind, more in ((11, CLIENT_ID), (1, CLIENT_ID + ia_na())):
        found = options6_of(answer(dhcp6(kind, more + asks6(*asked)), GUEST)[0][0])
        assert found.get(59, b"").decode() == url
        assert found.get(16) == (b"\0\0\1\x57\0\nHTTPClient" if asked[1].startswith(b"HTTP") else None)
        found = options6_of(answer(dhcp6(kind, more + asks6(*asked, wishes=b"\0\x17\x3b\0")), GUEST)[0][0])
        assert 59 not in found and 16 not in found, "not asked for"


def test_every_kind_of_client_can_be_met() -> None:
    met = {
        name
        for number in boot.ARCHITECTURES
        for name in boot.clients(b"", b"iPXE", number.to_bytes(2, "big"))
    }
    assert met == set(CLIENTS)


def test_ipxe_alone_gets_a_mask_with_which_it_finds_its_gateway() -> None:
    """In a /32; see docs/nfdhcpd.md, What clients accept."""
    for gateway, mask in (("169.254.1.1", "255.255.255.252"), ("169.254.1.3", "255.255.255.248")):
        alone = guest(with_(SUBNET="198.51.100.10/32", GATEWAY=gateway, BOOT=BOOT))
        for kind, more in ((1, b""), (3, option(50, "198.51.100.10"))):
            assert options_of(reply(alone, kind=kind, options=more + firmware(0, more=IPXE))[1])[
                1
            ] == inet_aton(mask)
            assert options_of(reply(alone, kind=kind, options=more + firmware(0))[1])[1] == b"\xff" * 4
    near = options_of(reply(GUEST, options=firmware(0, more=IPXE))[1])
    assert near[1] == b"\xff\xff\xff\0"


# --- clients that are not in Debian, by the options that they send

ALONE = guest(with_(SUBNET="198.51.100.10/32", GATEWAY="169.254.1.1"))
WINDOWS = option(61, b"\1\xaa\0\0\x12\x34\x56") + option(12, b"DESKTOP-1") + option(60, b"MSFT 5.0")
WINDOWS += option(55, bytes((1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252)))
FREEBSD = (
    option(61, b"\1\xaa\0\0\x12\x34\x56")
    + option(12, b"freebsd")
    + option(55, bytes((1, 28, 2, 121, 3, 15, 6, 12, 119, 26)))
)
KERNEL = option(55, bytes((1, 3, 6, 12, 15, 17, 26, 40, 42))) + option(60, b"Linux")
"""Linux with CONFIG_IP_PNP (net/ipv4/ipconfig.c), which knows no option 121."""


@pytest.mark.parametrize("options", (WINDOWS, FREEBSD, KERNEL), ids=("Windows", "FreeBSD", "Linux' ip=dhcp"))
@pytest.mark.parametrize("who", (GUEST, ALONE), ids=("a subnet", "/32"))
def test_clients_of_other_systems(who: Answerer, options: bytes) -> None:
    """What each needs is in the answer, whichever it asks for."""
    flags: dict[str, Any] = {"flags": 0x8000} if b"MSFT" in options else {}
    word, frame = reply(who, options=options, **flags)
    found = options_of(frame)
    assert word == "offer" and found[51] and found[54] and found[1] and found[3]
    far = b"\x20\xa9\xfe\1\1\0\0\0\0" + b"\0\xa9\xfe\1\1"
    assert found.get(121) == found.get(249) == (far if who is ALONE else None)
    assert len(frame) <= 14 + 28 + 548
