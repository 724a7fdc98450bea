"""What a WireGuard device has: its key, its peers, and the routes to what is behind them. Only networks use
these kinds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snf_network.lean import dataclass
from snf_network.model.resources.base import PROTOCOL, Resource, Rtnetlink
from snf_network.model.resources.routes import MAIN, SCOPE_NOWHERE, SCOPE_UNIVERSE, listed_prefix, route_head
from snf_network.wire import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    RTA_PRIORITY,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    U32,
    attribute,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import ClassVar

    from snf_network.model.resources.base import Index, Request, View

UNREACHABLE = 7
"""RTN_UNREACHABLE."""
LAST = (1 << 32) - 1
"""The metric that every other route goes before."""
ALIVE = 180
"""Seconds after its last handshake in which a peer can be heard (REJECT_AFTER_TIME of WireGuard's paper)."""


@dataclass(frozen=True)
class SeenPeer:
    """A peer as the kernel has it."""

    prefixes: tuple[str, ...]
    endpoint: str
    """Where it was heard last, or was said to be; empty if neither."""
    keepalive: int
    age: float
    """Seconds since its last handshake; a very large number if there was none."""


@dataclass(frozen=True)
class Seen:
    """A WireGuard device as the kernel has it. Its private key is not among this."""

    public: str
    """Its own public key; empty without a key."""
    port: int
    peers: dict[str, SeenPeer]
    """By public key."""


@dataclass(frozen=True)
class TunnelKey(Resource):
    """A device's own key, which is only named here, and the UDP port at which it listens."""

    door: ClassVar[str] = "wireguard"
    heading: ClassVar[str] = "wg"
    tool: ClassVar[str] = "wg"
    of_device: ClassVar[bool] = True
    place: ClassVar[tuple[str, ...]] = ("interface",)
    interface: str
    port: str
    path: str
    """The file with the private key."""
    public: str
    """The public key that must come of it: that of this node in networks.yaml."""

    def add(self) -> str:
        """The line of wg(8)."""
        return f"set {self.interface} listen-port {self.port} private-key {self.path}"

    def is_in(self, view: View) -> bool:
        """True if the device has the right key, and the file is still there for the next boot."""
        found = view.tunnels.get(self.interface)
        has = found is not None and (found.public, str(found.port)) == (self.public, self.port)
        return has and view.content(self.path) is not None


@dataclass(frozen=True)
class TunnelPeer(Resource):
    """Another node: packets from it are accepted, and sent to it, with its inner address alone."""

    door: ClassVar[str] = "wireguard"
    heading: ClassVar[str] = "wg"
    tool: ClassVar[str] = "wg"
    of_device: ClassVar[bool] = True
    place: ClassVar[tuple[str, ...]] = ("interface", "public")
    interface: str
    public: str
    prefix: str
    keepalive: str
    endpoint: str = ""

    def add(self) -> str:
        """The line of wg(8). A session that there is goes on."""
        endpoint = self.endpoint and f" endpoint {self.endpoint}"
        words = f"allowed-ips {self.prefix}{endpoint} persistent-keepalive {self.keepalive}"
        return f"set {self.interface} peer {self.public} {words}"

    def delete(self) -> str:
        """Ends its session, too."""
        return f"set {self.interface} peer {self.public} remove"

    def is_in(self, view: View) -> bool:
        """A peer that is heard may be anywhere: only that of one that is not must be as it was said."""
        tunnel = view.tunnels.get(self.interface)
        found: SeenPeer | None = tunnel.peers.get(self.public) if tunnel else None
        if found is None or (found.prefixes, found.keepalive) != ((self.prefix,), int(self.keepalive)):
            return False
        return self.endpoint in ("", found.endpoint) or (bool(found.endpoint) and found.age < ALIVE)


@dataclass(frozen=True)
class Unreachable(Rtnetlink):
    """Packets to an address go nowhere when no other route leads there. Without it, what is for a tunnel that
    is down would go by the node's default route, in the clear.
    """

    rank: ClassVar[int] = 3
    prefix: str

    def _words(self) -> str:
        return f"unreachable {self.prefix} metric {LAST} proto {PROTOCOL}"

    def add(self) -> str:
        """The line of ip-route(8)."""
        return f"route replace {self._words()}"

    def delete(self) -> str:
        """The line of ip-route(8)."""
        return f"route del {self._words()}"

    def message(self, add: bool, index: Index) -> Request:
        """The message that ip(8) sends; IPv4 deletes a route of any scope."""
        scope = SCOPE_UNIVERSE if add else SCOPE_NOWHERE
        body = route_head(self.prefix, MAIN, UNREACHABLE, scope) + attribute(RTA_PRIORITY, U32.pack(LAST))
        return (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body) if add else (RTM_DELROUTE, 0, body)

    @staticmethod
    def listed(entries: list[dict[str, Any]], family: str) -> Iterator[Unreachable]:
        """Ours in the output of `ip -N -j` with `family`, for our protocol; it does not name table main."""
        for found in entries:
            last = (found.get("type"), found.get("metric")) == (str(UNREACHABLE), LAST)
            if last and found.get("table", MAIN) == MAIN:
                yield Unreachable(listed_prefix(found["dst"], family))
