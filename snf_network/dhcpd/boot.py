"""Which boot file a client gets: by the firmware that asks (RFC 4578, RFC 5970, UEFI 2.10 section 24). Pure.

Firmware first loads iPXE, which asks again as itself, and gets another file.
"""

from __future__ import annotations

from socket import inet_aton
from struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from snf_network.dhcpd.terms import Terms

MASK, WISHES, VENDOR_CLASS, TFTP_SERVER, BOOT_FILE = 1, 55, 60, 66, 67
USER_CLASS, ARCHITECTURE, OF_IPXE = 77, 93, 175
WISHES6, USER_CLASS6, VENDOR_CLASS6, BOOT_URL, ARCHITECTURE6 = 6, 15, 16, 59, 61
HTTP_CLIENT = b"HTTPClient"
NO_PROXY = b"\xb0\1\1"
"""iPXE's own option 176 within 175: it does not wait two seconds for a second server, which no guest has."""
ARCHITECTURES = {
    **{0: "bios", 6: "efi32", 7: "efi64", 9: "efi64", 10: "arm32", 11: "arm64", 27: "riscv64"},
    **{15: "efi32", 16: "efi64", 18: "arm32", 19: "arm64", 20: "bios", 28: "riscv64"},
}
"""IANA's processor architecture types; those of the second line boot by HTTP. 7 and 9 are swapped in RFC 4578
(see its errata): firmware of x86-64 says 7.
"""
BY_HTTP = (15, 16, 17, 18, 19, 20, 28)
LONGEST_FIELD = 127
"""Characters of the field `file`, which ends with a zero."""
Options = tuple[tuple[int, bytes], ...]
Choice = tuple[bytes, bytes, Options]
"""The fields siaddr and file, and options."""
NOTHING: Choice = (bytes(4), b"", ())


def clients(vendor: bytes, user: bytes, architecture: bytes) -> tuple[str, ...]:
    """What a client is, the most specific name first, as in values.CLIENTS. The classes are as in the
    options, with or without their lengths before the words (RFC 3004; iPXE omits them).
    """
    number = int.from_bytes(architecture[:2], "big") if len(architecture) >= 2 else -1
    name = ARCHITECTURES.get(number, "")
    if vendor.startswith(HTTP_CLIENT) or number in BY_HTTP:
        kinds = (f"http-{name}", "http") if name else ("http",)
    else:
        kinds = (name, "any") if name else ("any",)
    return ("ipxe", *kinds) if user in (b"iPXE", b"\4iPXE", b"\0\4iPXE") else kinds


def file_for(files: dict[str, str], names: tuple[str, ...]) -> str:
    """The file for a client of these names; empty if there is none. One that boots by HTTP also takes the
    file for any client, if that is on a web server.
    """
    found = next((files[name] for name in names if name in files), "")
    other = files.get("any", "")
    return found or (other if other.startswith(("http://", "https://")) else "")


class Boot:
    """The boot files of one guest."""

    __slots__ = ("files", "mask", "server")

    def __init__(self, terms: Terms) -> None:
        self.files = dict(terms.boot)
        self.server = inet_aton(terms.next_server) if terms.next_server else bytes(4)
        """The field siaddr: who has the file, unless the file is a URL."""
        far = terms.router and terms.subnet.endswith("/32")
        self.mask = _mask(inet_aton(terms.ip), inet_aton(terms.router)) if far else b""
        """The subnet mask for iPXE, if not the guest's own."""

    def chosen(self, asked: dict[int, bytes]) -> Choice:
        """What a request with these options gets."""
        names = clients(*(asked.get(code, b"") for code in (VENDOR_CLASS, USER_CLASS, ARCHITECTURE)))
        file = file_for(self.files, names).encode("ascii")
        if not file:
            return NOTHING
        wishes, options = asked.get(WISHES, b""), []
        if "http" in names:
            options.append((VENDOR_CLASS, HTTP_CLIENT))  # else the firmware takes it for another's offer
        if BOOT_FILE in wishes or len(file) > LONGEST_FIELD:
            options.append((BOOT_FILE, file))
        if TFTP_SERVER in wishes and self.server != bytes(4):
            options.append((TFTP_SERVER, ".".join(map(str, self.server)).encode("ascii")))
        if "ipxe" in names:
            options.append((OF_IPXE, NO_PROXY))
            if self.mask:
                options.append((MASK, self.mask))
        return self.server, file if len(file) <= LONGEST_FIELD else b"", tuple(options)


def _mask(address: bytes, gateway: bytes) -> bytes:
    """A mask with which the iPXE of Debian 12 (2019) gets out of a /32: with that one it takes every address
    for its network's broadcast address, the gateway's, too.
    """
    for length in range(30, 8, -1):
        host = (1 << 32 - length) - 1
        if all(int.from_bytes(one, "big") & host not in (0, host) for one in (address, gateway)):
            return (0xFFFFFFFF & ~host).to_bytes(4, "big")
    return b""


def options6(terms: Terms, asked: dict[int, bytes]) -> Options:
    """The options for a DHCPv6 client that wants a boot file. One that boots by HTTP only believes an answer
    with its own class.
    """
    wishes = asked.get(WISHES6, b"")
    if BOOT_URL.to_bytes(2, "big") not in (wishes[at : at + 2] for at in range(0, len(wishes), 2)):
        return ()
    vendor, user = asked.get(VENDOR_CLASS6, b""), asked.get(USER_CLASS6, b"")
    names = clients(vendor[6:], user, asked.get(ARCHITECTURE6, b""))
    url = file_for(dict(terms.boot6), names)
    told = ((BOOT_URL, url.encode("ascii")),) if url else ()
    if not told or not vendor[6:].startswith(HTTP_CLIENT):
        return told
    return (*told, (VENDOR_CLASS6, vendor[:4] + pack("!H", len(HTTP_CLIENT)) + HTTP_CLIENT))
