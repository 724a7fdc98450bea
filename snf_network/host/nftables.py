"""Members by nfnetlink (linux/netfilter/nf_tables.h), without a process: a transaction, and a question.

`nft` takes 4 ms to do the same (bench/ifup): it starts, and reads back all sets before it writes one. A call
that is killed leaves no nft behind that goes on alone. Rules, and whatever is rare, are still nft's.
"""

from __future__ import annotations

from _socket import socket
from _struct import Struct, unpack_from
from posix import strerror

from snf_network.errors import KernelError
from snf_network.wire import HEADER, NLM_F_CREATE, NLMSG_ERROR, message, messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from snf_network.model.resources import Element

    Changes = Sequence[tuple[Element, bool]]
    """Members, and True for each that is added rather than deleted."""

AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER = 16, 3, 12
BATCH_BEGIN, BATCH_END, SUBSYSTEM = 0x10, 0x11, 10
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = (SUBSYSTEM << 8 | kind for kind in (12, 13, 14))
MOST = 500
"""Changes in one transaction: more would not fit into the socket's buffer (212992 bytes)."""
GENERIC = Struct("=BBH")
"""nfgenmsg: family, version, and the subsystem of a batch in network byte order."""
BATCH = GENERIC.pack(0, 0, SUBSYSTEM << 8)


def encode(changes: Changes) -> bytes:
    """The transaction as one datagram; empty if only nft knows how to do it."""
    if len(changes) > MOST:
        return b""
    parts = [message(BATCH_BEGIN, 0, BATCH, 0)]
    try:
        for number, (element, add) in enumerate(changes):
            family, body = element.body(add)
            kind, flags = (NEW_ELEMENT, NLM_F_CREATE) if add else (DELETE_ELEMENT, 0)
            parts.append(message(kind, flags, GENERIC.pack(family, 0, 0) + body, number))
    except (KeyError, ValueError, OSError):  # a record may contain anything
        return b""
    return b"".join((*parts, message(BATCH_END, 0, BATCH, len(changes))))


def send(datagram: bytes, changes: Changes) -> str:
    """Commit a transaction, all of it or nothing; returns the kernel's error with the line of nft(8) that
    caused it, empty on success. Raises OSError.
    """
    door = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)
    try:
        door.settimeout(0)  # the kernel has answered when send() returns
        door.send(datagram)
        return _answer(door, changes)
    finally:
        door.close()


def has(element: Element) -> bool | None:
    """True if the kernel has a member with this key; None if only nft knows how to ask. `nft get element`
    reads all members before it asks for one. Raises KernelError.
    """
    try:
        family, body = element.body(False)
    except (KeyError, ValueError, OSError):
        return None
    door = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)
    try:
        door.settimeout(0)
        door.send(message(GET_ELEMENT, 0, GENERIC.pack(family, 0, 0) + body))
        return all(kind != NLMSG_ERROR for kind, _, _ in messages(door.recv(1 << 16)))
    except OSError as error:
        raise KernelError(f"nftables: {error.strerror or error}") from error
    finally:
        door.close()


def _answer(door: socket, changes: Changes) -> str:
    try:
        said = door.recv(1 << 16)
    except BlockingIOError:
        return ""  # only a refusal is answered
    for kind, number, body in messages(said):
        code = -unpack_from("=i", body)[0] if kind == NLMSG_ERROR and len(body) >= 4 + HEADER.size else 0
        if code:
            element, add = changes[number] if number < len(changes) else (None, True)
            line = (element.add() if add else element.delete()) if element else "nft"
            return f"Error: {line}: {strerror(code)}"
    return ""
