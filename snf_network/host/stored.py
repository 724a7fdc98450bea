"""Members of our sets as the kernel stores them (linux/netfilter/nf_tables.h): what `Element.body` writes,
read back.

nft takes 12 us to list one, and 4000 NICs have 60 000; this takes 3 us. It reads what NICs' own members are
made of; of a set that has anything else, such as ranges, limits or an administrator's comment, it tells only
the name.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop
from _struct import Struct
from _struct import error as struct_error  # type: ignore[attr-defined]

from snf_network.errors import KernelError
from snf_network.host.netlink import Netlink
from snf_network.host.nftables import GENERIC, NETLINK_NETFILTER, SUBSYSTEM
from snf_network.model.resources import Element
from snf_network.model.resources.nft import (
    DATA_VALUE,
    DATA_VERDICT,
    DIGITS,
    ELEM_DATA,
    ELEM_ELEMENTS,
    ELEM_KEY,
    ELEM_SET,
    ELEM_TABLE,
    GOTO,
    KEYS,
    LEARNED,
    NUMBERS,
    VALUES,
    VERDICT_CHAIN,
    VERDICT_CODE,
)
from snf_network.wire import (
    NLA_TYPE,
    NLM_F_DUMP,
    NLMSG_ERROR,
    U32,
    aligned,
    attribute,
    attribute_list,
    attributes,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GET_SET, GET_ELEMENTS, GET_GENERATION = (SUBSYSTEM << 8 | number for number in (10, 13, 16))
SET_TABLE, SET_NAME = 1, 2
"""NFTA_SET_*."""
TABLE = b"snf_network\0"
IFNAMSIZ = 16
HEADS = Struct("=HHHH")
"""The head of a key's attribute, and that of the value in it."""
SIZES = {"mac": 6, "vlan": 2, "address": 0}
"""Bytes of one part of a key; 0: all that are left."""
TRIES = 5
"""How often to repeat a dump that changed while it was read."""
STRANGE = (ValueError, KeyError, IndexError, OSError, struct_error)
"""What a member raises that only nft can list."""


class Stored:
    """The members of our sets and maps in one family."""

    def __init__(self, family: str) -> None:
        """Read them. Raises KernelError."""
        self.members: list[Element] = []
        self.others: list[str] = []
        """The names of those whose members only nft can list."""
        number = NUMBERS[family]
        try:
            with Netlink(NETLINK_NETFILTER) as netlink:
                for name, elements in _read(netlink, number):
                    try:
                        self.members += [one for some in elements for one in _members(family, name, some)]
                    except STRANGE:
                        self.others.append(name)
        except OSError as error:
            raise KernelError(f"nftables: {error.strerror or error}") from error


def _read(netlink: Netlink, family: int) -> list[tuple[str, list[bytes]]]:
    """Each set of ours with its members, as of one generation of the ruleset."""
    for _ in range(TRIES):
        before = netlink.ask(GET_GENERATION, 0, GENERIC.pack(0, 0, 0))
        found = [(name, _elements(netlink, family, name)) for name in _sets(netlink, family)]
        if netlink.ask(GET_GENERATION, 0, GENERIC.pack(0, 0, 0)) == before:
            break
    return found


def _sets(netlink: Netlink, family: int) -> list[str]:
    """The names of our sets and maps that have members of NICs."""
    replies = netlink.ask(GET_SET, NLM_F_DUMP, GENERIC.pack(family, 0, 0) + attribute(SET_TABLE, TABLE))
    fields = (attributes(reply[GENERIC.size :]) for kind, reply in replies if kind != NLMSG_ERROR)
    names = [one[SET_NAME].rstrip(b"\0").decode() for one in fields]
    return [name for name in names if name not in LEARNED and not name.startswith("__")]  # __: one in a rule


def _elements(netlink: Netlink, family: int, name: str) -> list[bytes]:
    body = (
        GENERIC.pack(family, 0, 0) + attribute(ELEM_TABLE, TABLE) + attribute(ELEM_SET, name.encode() + b"\0")
    )
    replies = netlink.ask(GET_ELEMENTS, NLM_F_DUMP, body)
    found = (attributes(reply[GENERIC.size :]) for kind, reply in replies if kind != NLMSG_ERROR)
    return [fields[ELEM_ELEMENTS] for fields in found if fields.get(ELEM_ELEMENTS)]


def _members(family: str, name: str, elements: bytes) -> Iterator[Element]:
    kind, parts = VALUES.get(name, ""), list(_parts(name))
    for _, element in attribute_list(elements):
        length, outer, inner, number = HEADS.unpack_from(element)
        if (outer & NLA_TYPE, number & NLA_TYPE, inner + 4) != (ELEM_KEY, DATA_VALUE, length):
            raise ValueError(element)
        key, data = element[HEADS.size : length], element[aligned(length) :]
        interface = key[:IFNAMSIZ].rstrip(b"\0").decode()
        rest = " . ".join([word(key[begin:end]) for word, begin, end in parts]) if parts else ""
        yield Element(family, name, interface, rest, _value(kind, data) if kind or data else "")


def _parts(name: str) -> Iterator[tuple[Callable[[bytes], str], int, int | None]]:
    """How to read each part of a key after the interface, where it begins, and where it ends."""
    begin = IFNAMSIZ
    for kind in KEYS[name].split()[1:]:
        size = DIGITS[name] // 2 if kind == "digits" else SIZES[kind]
        yield WORDS[kind], begin, begin + size if size else None
        begin = aligned(begin + size)


def _value(kind: str, data: bytes) -> str:
    """What a map's member has besides its key."""
    ((number, said),) = attribute_list(data)
    if number != ELEM_DATA:  # the end of a range, a limit, a comment
        raise ValueError(data)
    fields = attributes(said)
    if kind != "verdict":
        return WORDS[kind](fields[DATA_VALUE])
    verdict = attributes(fields[DATA_VERDICT])
    if int.from_bytes(verdict[VERDICT_CODE], "big") != GOTO:
        raise ValueError(data)
    return f"goto {verdict[VERDICT_CHAIN].rstrip(bytes(1)).decode()}"


def _address(data: bytes) -> str:
    return inet_ntop(AF_INET if len(data) == 4 else AF_INET6, data)


WORDS: dict[str, Callable[[bytes], str]] = {
    "mac": lambda data: data.hex(":"),
    "address": _address,
    "digits": lambda data: f"0x{data.hex()}",
    "vlan": lambda data: str(int.from_bytes(data, "big")),
    "mark": lambda data: str(U32.unpack(data)[0]),
}
"""How nft lists one part of a key, or the value of a map."""
