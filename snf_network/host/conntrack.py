"""Connections that the node tracks, by address: ctnetlink (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, SO_RCVTIMEO, SOL_SOCKET, inet_pton, socket
from _struct import Struct, pack, unpack_from
from _struct import error as struct_error  # type: ignore[attr-defined]

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
    from collections.abc import Iterator

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


class Connections:
    """One socket to list and to end them."""

    def __init__(self) -> None:
        self.socket = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)
        self.socket.setsockopt(SOL_SOCKET, SO_RCVTIMEO, PATIENCE)

    def of(self, address: str) -> list[tuple[int, bytes]]:
        """Family and identity of each connection that this address takes part in; a link-local one is many
        hosts'. Raises OSError.
        """
        if not is_address(address) or is_link_local(address):
            return []
        family, packed = family_of(address), inet_pton(family_of(address), address)
        listed = self._listed(family, packed)
        return [
            (family, one)
            for one in dict.fromkeys(_identity(entry, family, packed) for entry in listed)
            if one
        ]

    def _listed(self, family: int, packed: bytes) -> Iterator[bytes]:
        """Entries among which are all with this address. The kernel filters, since 5.8; but asked for an IPv6
        address it lists all others (6.18, ctnetlink_filter_match_tuple), so there it is not asked to.
        """
        plain = GENERIC.pack(family, 0, 0)
        if family == AF_INET6:
            yield from (entry for entry in self._answers(plain) if packed in entry)
            return
        for side, place, bit in SIDES:
            bits = (bit, 0) if side == ORIGINAL else (0, bit)
            wanted = zip((FILTER_ORIGINAL, FILTER_REPLY), (U32.pack(one) for one in bits))
            body = nested(side, nested(TUPLE_IP, attribute(place[family], packed)))
            yield from self._answers(
                plain + body + nested(FILTER, b"".join(attribute(*one) for one in wanted))
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


def _identity(entry: bytes, family: int, packed: bytes) -> bytes:
    """What identifies an entry, as attributes; empty if it has the address nowhere."""
    fields = attributes(entry[GENERIC.size :])
    for side, place, _ in SIDES:
        if attributes(attributes(fields.get(side, b"")).get(TUPLE_IP, b"")).get(place[family]) == packed:
            known = (kind for kind in (ORIGINAL, ID, ZONE) if kind in fields)
            return b"".join((nested if kind == ORIGINAL else attribute)(kind, fields[kind]) for kind in known)
    return b""


REFUSALS = (OSError, struct_error)
"""What an answer that fails, or does not come, raises."""
