"""Connections that the node tracks, by address: ctnetlink (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, SO_RCVTIMEO, SOL_SOCKET, inet_pton, socket
from _struct import Struct, pack, unpack_from
from _struct import error as struct_error  # type: ignore[attr-defined]
from itertools import product

from snf_network.addresses import family_of, is_address, is_link_local
from snf_network.wire import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    U32,
    attribute,
    attributes,
    message,
    messages,
    nested,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    Known = tuple[int, bytes]
    """Family and identity of a connection."""

AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER = 16, 3, 12
PATIENCE = pack("ll", 1, 0)
"""A struct timeval: 1 second."""
GET, DELETE = 1 << 8 | 1, 1 << 8 | 2
"""IPCTNL_MSG_CT_*, of NFNL_SUBSYS_CTNETLINK."""
GENERIC = Struct("=BBH")
"""nfgenmsg: family, version, resource."""
ORIGINAL, REPLY, ID, ZONE, FILTER = 1, 2, 12, 18, 25
"""CTA_*."""
TUPLE_IP, FILTER_ORIGINAL, FILTER_REPLY = 1, 1, 2
SOURCE, DESTINATION = {AF_INET: 1, AF_INET6: 3}, {AF_INET: 2, AF_INET6: 4}
"""CTA_IP_*."""
SIDES = ((ORIGINAL, SOURCE, 1), (ORIGINAL, DESTINATION, 2), (REPLY, SOURCE, 1))
"""Where a connection may have an address, each with the kernel's bit for the filter. The destination of
replies is the source of the original, or an address that stands for it.
"""


FEW = 3
"""How many addresses are asked for one by one; for more, all entries are listed once."""


class Connections:
    """One socket to list and to end them."""

    def __init__(self) -> None:
        self.socket = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)
        self.socket.setsockopt(SOL_SOCKET, SO_RCVTIMEO, PATIENCE)

    def of(self, addresses: Collection[str]) -> dict[str, set[Known]]:
        """The connections that each address takes part in, if any; a link-local one is many hosts'. Raises
        OSError.
        """
        found: dict[str, set[Known]] = {}
        for family in (AF_INET, AF_INET6):
            mine = (one for one in addresses if is_address(one) and not is_link_local(one))
            wanted = {inet_pton(family, one): one for one in mine if family_of(one) == family}
            for entry in self._listed(family, list(wanted)) if wanted else ():
                fields = attributes(entry[GENERIC.size :])
                for packed in wanted.keys() & _ends(fields, family):
                    found.setdefault(wanted[packed], set()).add((family, _identity(fields)))
        return found

    def _listed(self, family: int, wanted: list[bytes]) -> Iterator[bytes]:
        """Entries among which are all of these addresses. The kernel filters, since 5.8; but asked for an
        IPv6 address it lists all others (6.18, ctnetlink_filter_match_tuple), so there it is not asked to.
        """
        plain = GENERIC.pack(family, 0, 0)
        if family == AF_INET6 or len(wanted) > FEW:
            yield from self._answers(plain)
            return
        for packed, (side, place, bit) in product(wanted, SIDES):
            bits = (bit, 0) if side == ORIGINAL else (0, bit)
            flags = zip((FILTER_ORIGINAL, FILTER_REPLY), (U32.pack(one) for one in bits))
            body = nested(side, nested(TUPLE_IP, attribute(place[family], packed)))
            yield from self._answers(
                plain + body + nested(FILTER, b"".join(attribute(*one) for one in flags))
            )

    def _answers(self, question: bytes) -> list[bytes]:
        """The replies to a dump: all of them, as any left over would be taken for the next one's."""
        found: list[bytes] = []
        self.socket.send(message(GET, NLM_F_DUMP, question))
        while True:
            for kind, _, body in messages(self.socket.recv(1 << 16)):
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return found
                found.append(body)

    def end(self, family: int, identity: bytes) -> bool:
        """Delete one; False if it is gone by itself. Raises OSError."""
        self.socket.send(message(DELETE, NLM_F_ACK, GENERIC.pack(family, 0, 0) + identity))
        for kind, _, body in messages(self.socket.recv(1 << 16)):
            if kind == NLMSG_ERROR:
                return not unpack_from("=i", body)[0]
        return False

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def _ends(fields: Mapping[int, bytes], family: int) -> set[bytes]:
    """The addresses of an entry."""
    sides = {
        side: attributes(attributes(fields.get(side, b"")).get(TUPLE_IP, b"")) for side in (ORIGINAL, REPLY)
    }
    return {sides[side].get(place[family], b"") for side, place, _ in SIDES}


def _identity(fields: Mapping[int, bytes]) -> bytes:
    """What identifies an entry, as attributes."""
    known = (kind for kind in (ORIGINAL, ID, ZONE) if kind in fields)
    return b"".join((nested if kind == ORIGINAL else attribute)(kind, fields[kind]) for kind in known)


REFUSALS = (OSError, struct_error)
"""What an answer that fails, or does not come, raises."""
