"""WireGuard: the settings of a device by generic netlink (linux/wireguard.h), and a node's private key.

pyroute2 speaks it. A private key goes from its file into the kernel, and nowhere else: neither an error nor
anything that `read` returns has it. No NIC waits for this.
"""

from __future__ import annotations

import base64
import os
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from snf_network.errors import KernelError
from snf_network.host import kernel
from snf_network.model.resources.tunnel import Seen, SeenPeer, TunnelKey, TunnelPeer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snf_network.model.resources import Resource

NEVER = float(1 << 62)
"""The age of a handshake that has not been."""
OTHERS = 0o077
"""Permissions that a private key must not have."""
HINT = "snf-network net key makes one"
MODULE = "modprobe wireguard; Debian's kernels have it"


def read(interface: str) -> Seen:
    """A device as the kernel has it. Raises KernelError, if it is none too."""
    public, port = "", 0
    peers: dict[str, SeenPeer] = {}
    for part in _asked(interface):
        public = _text(part.get_attr("WGDEVICE_A_PUBLIC_KEY")) or public
        port = part.get_attr("WGDEVICE_A_LISTEN_PORT") or port
        peers |= dict(map(_peer, part.get_attr("WGDEVICE_A_PEERS") or ()))
    return Seen(public, port, peers)


def _asked(interface: str) -> list[Any]:
    with closing(_door()) as door:
        try:
            return list(door.info(interface))
        except Exception as error:  # NetlinkError, and what a parser raises
            raise KernelError(f"{interface}: {_words(error)}") from None


def _door() -> Any:
    from pyroute2 import WireGuard
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        return WireGuard()
    except (NetlinkError, OSError) as error:
        raise KernelError(f"the kernel has no WireGuard: {_words(error)}", MODULE) from None


def _words(error: Exception) -> str:
    """Why, without the message that was sent."""
    code = getattr(error, "code", None) or getattr(error, "errno", None)
    return os.strerror(code) if isinstance(code, int) else type(error).__name__


def _text(value: Any) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value or "")


def _peer(peer: Any) -> tuple[str, SeenPeer]:
    said, seen = peer.get_attr("WGPEER_A_ENDPOINT"), peer.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME")
    address = said["addr"] if said else ""
    where = f"[{address}]" if ":" in address else address
    then = seen["tv_sec"] if seen else 0
    return _text(peer.get_attr("WGPEER_A_PUBLIC_KEY")), SeenPeer(
        tuple(one["addr"] for one in peer.get_attr("WGPEER_A_ALLOWEDIPS") or ()),
        f"{where}:{said['port']}" if said else "",
        peer.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") or 0,
        max(time.time() - then, 0) if then else NEVER,
    )


# --- changes


def send(resources: Sequence[Resource], add: bool) -> list[str]:
    """Add or delete each; returns the error for each, empty on success. Deleting a peer of a device that is
    gone is none. Raises KernelError if the kernel has no WireGuard.
    """
    if not resources:
        return []
    with closing(_door()) as door:
        return [_sent(door, one, add) for one in resources]


def _sent(door: Any, resource: Resource, add: bool) -> str:
    try:
        if isinstance(resource, TunnelKey):
            return _set_key(door, resource)
        assert isinstance(resource, TunnelPeer)
        door.set(resource.interface, peer=_settings(resource) if add else _removal(resource))
    except KernelError as error:
        return str(error)
    except Exception as error:  # NetlinkError; a record may contain anything
        return _words(error) if add or kernel.ifindex(resource.device) else ""
    return ""


def _set_key(door: Any, resource: TunnelKey) -> str:
    door.set(resource.interface, listen_port=int(resource.port), private_key=read_key(resource.path))
    found = read(resource.interface).public
    if found == resource.public:
        return ""
    return f"its public key is {found}, and networks.yaml has {resource.public} for this node"


def _settings(peer: TunnelPeer) -> dict[str, Any]:
    address, _, port = peer.endpoint.rpartition(":")
    where = {"endpoint_addr": address.strip("[]"), "endpoint_port": int(port)} if peer.endpoint else {}
    return {
        "public_key": peer.public,
        "allowed_ips": [peer.prefix],
        "replace_allowed_ips": True,  # pyroute2 before 0.9 does so anyway
        "persistent_keepalive": int(peer.keepalive),
        **where,
    }


def _removal(peer: TunnelPeer) -> dict[str, Any]:
    return {"public_key": peer.public, "remove": True}


# --- the private key


def read_key(path: str) -> str:
    """The private key in a file, in base64. Raises KernelError if there is none, or if others can read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}", HINT) from None
    try:
        if os.fstat(descriptor).st_mode & OTHERS:
            raise KernelError(f"{path}: others than root can read this private key", f"chmod 600 {path}")
        text = os.read(descriptor, 64).decode("ascii", "replace").strip()
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}", HINT) from None
    finally:
        os.close(descriptor)
    if not _is_key(text):
        raise KernelError(f"{path} has no private key of WireGuard", "44 characters of base64")
    return text


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 32
    except ValueError:
        return False


def make_key(path: str) -> bool:
    """Make a private key, mode 0600, unless there is a file already; True if it did. Whoever looks sees the
    whole file or none. Raises KernelError.
    """
    beside = f"{path}.{os.getpid()}.new"
    try:
        _write_key(beside)
        os.link(beside, path)  # a rename would replace what is there
        return True
    except FileExistsError:
        return False
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}") from None
    finally:
        kernel.remove_file(beside)


def _write_key(path: str) -> None:
    kernel.make_directory(path.rpartition("/")[0] or "/")
    kernel.remove_file(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        kernel.write_all(descriptor, f"{_new_key()}\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new_key() -> str:
    """32 random octets, as `wg genkey` makes them (RFC 7748, 5: which bits are set)."""
    octets = bytearray(os.urandom(32))
    octets[0] &= 248
    octets[31] = octets[31] & 127 | 64
    return base64.b64encode(octets).decode("ascii")


def public_of(path: str) -> str:
    """The public key of the private key in a file, by wg(8), which reads it from its input. Raises
    KernelError.
    """
    status, said = kernel.run(("wg", "pubkey"), f"{read_key(path)}\n")
    if status:
        raise KernelError(f"wg pubkey: {said.strip().partition(kernel.NEWLINE)[0]}")
    return said.strip()
