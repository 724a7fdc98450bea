"""Members of the sets and maps of base.nft: the only nft state that a NIC has, but for the chains at its own
device.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

from snf_network.lean import dataclass
from snf_network.model.resources.base import Resource
from snf_network.wire import U32, attribute, nested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, ClassVar

    from snf_network.model.resources.base import View

FAMILIES = ("bridge", "inet", "arp", "netdev")
"""The families that have a table snf_network."""
COUNTERS = "drops"
"""The set that counts drops."""
LEARNED = (COUNTERS, "others4", "others6", "tracked", "noted", "noted4", "noting", "seen", "arriving")
"""Sets whose members come from packets, not from NICs."""
DIGITS = {"ndmacs": 12, "targets": 32, "tgtnets": 32, "tgtnets64": 16, "router_targets": 32}
"""Number of hexadecimal digits of the values that nft lists for raw payload."""
KEYS = {
    **dict.fromkeys(
        ("ingress", "egress", "guarded", "ports", "prefixed", "owned", "hosts", "routed", "served"),
        "interface",
    ),
    **dict.fromkeys(("queued", "tables", "gateways", "overlays", "guests"), "interface"),
    **dict.fromkeys(("macs", "prefixes", "apart"), "interface mac"),
    **dict.fromkeys(("src4", "nets4", "src6", "nets6", "nets64"), "interface mac address"),
    **dict.fromkeys(("targets", "tgtnets", "tgtnets64", "ndmacs", "router_targets"), "interface digits"),
    **dict.fromkeys(("limited", "broadcasts", "openings"), "interface"),
    **dict.fromkeys(("routers", "router_ips"), "interface address"),
    "trunks": "interface vlan",
}
"""The parts of a key, by set or map: those that a NIC's own members are in."""
INTERVALS = ("nets4", "nets6", "tgtnets")
VALUES = {"ingress": "verdict", "egress": "verdict", "tables": "mark", "gateways": "address"}
"""What a map's values are."""
NUMBERS = {"inet": 1, "arp": 3, "netdev": 5, "bridge": 7}
"""NFPROTO_* of linux/netfilter.h."""
GOTO = 0xFFFFFFFC
"""NFT_GOTO of linux/netfilter/nf_tables.h, like what follows."""
ELEM_TABLE, ELEM_SET, ELEM_ELEMENTS, LIST_ELEM = 1, 2, 3, 1
ELEM_KEY, ELEM_DATA, ELEM_EXPR, ELEM_KEY_END = 1, 2, 7, 10
EXPR_NAME, EXPR_DATA = 1, 2
LIMIT_RATE, LIMIT_UNIT, LIMIT_BURST, LIMIT_TYPE, LIMIT_FLAGS = 1, 2, 3, 4, 5
OF_PACKETS, OVER = 0, 1
LIMIT = "limit rate over "
"""How the value of a member begins that has a limit, and no value."""
SECOND = 1
BURST = 5
"""Frames, where nft lists none."""
HOOK = "hook"
"""Stands for the chain of a NIC where the watch names the set of a member."""
SIDES = {"out": ("ingress", 0), "in": ("egress", 0), "from": ("ingress", 10), "to": ("egress", -10)}
"""Hook and priority of the chains of a NIC: limits of what the guest sends and gets, and the pins of a port
of Open vSwitch. As on a bridge, what is over a limit meets no pin, and what is kept from the guest no limit.
"""
THOUSANDS = {"bytes": 1, "kbytes": 1 << 10, "mbytes": 1 << 20}
"""The units in which nft lists limits."""
DATA_VALUE, DATA_VERDICT, VERDICT_CODE, VERDICT_CHAIN = 1, 2, 1, 2
TUNNELS = ("vtep_tunnel", "vtep_tunnel6")
VTEPS = ("vteps", "vtep_self", "vteps6", "vtep_self6", "vxlan_ports", *TUNNELS)
"""The sets of the underlay, which are about nodes."""
NAMED = {"masq": 1, "masq_networks": None, "masq_pairs": None} | dict.fromkeys(set(VTEPS).difference(TUNNELS))
"""Index of the member's part that is a device; in all other sets, the first."""


@dataclass(frozen=True)
class Element(Resource):
    """A member of an nft set or, with a value, of a map."""

    door: ClassVar[str] = "nft"
    heading: ClassVar[str] = "nft -f -"
    tool: ClassVar[str] = "nft"
    place: ClassVar[tuple[str, ...]] = ("family", "set", "interface", "rest")
    family: str
    set: str
    interface: str
    """The NIC it is about; empty if it is about none."""
    rest: str = ""
    """The part after the interface, or the whole key if there is none."""
    value: str = ""

    @property
    def key(self) -> str:
        """The key in nft syntax."""
        named = self.interface and f'"{self.interface}"'
        return f"{named} . {self.rest}" if named and self.rest else named or self.rest

    @classmethod
    def read(cls, words: Sequence[str]) -> Resource:
        """Before 0.21 a line had the whole key in one field."""
        if len(words) < 5:
            family, name, key, value = (*words, "")[:4]
            interface, _, rest = key[1:].partition('"') if key.startswith('"') else ("", "", key)
            return cls(family, name, interface, rest.removeprefix(" . "), value)
        return super().read(words)

    def unsound(self) -> str:
        """All fields in one, as a NIC has dozens of members: one that would end the member is not sound."""
        text = f"{self.family}{self.set}{self.interface}{self.rest}{self.value}"
        if text.isprintable() and not ("{" in text or "}" in text or ";" in text or "\\" in text):
            return ""
        return f"member={text}"

    def add(self) -> str:
        """Adding a member again does nothing; adding another value for a key of a map fails."""
        between = " " if self.value.startswith(LIMIT) else " : "
        member = f"{self.key}{between}{self.value}" if self.value else self.key
        return f"add element {self.family} snf_network {self.set} {{ {member} }}"

    def delete(self) -> str:
        """Fails if the member is absent."""
        return f"delete element {self.family} snf_network {self.set} {{ {self.key} }}"

    def body(self, add: bool) -> tuple[int, bytes]:
        """Family and attributes of the message that adds or deletes it, as `nft` would send it. Raises
        KeyError for a set that only nft knows how to write to, and ValueError or OSError for a malformed
        value.
        """
        kinds = KEYS[self.set].split()
        words = [self.interface, *self.rest.split(" . ")] if self.rest else [self.interface]
        if len(kinds) != len(words):
            raise ValueError(self.key)
        ends = [_ends(kind, word) for kind, word in zip(kinds, words)]
        element = _data(ELEM_KEY, b"".join(first for first, _ in ends))
        if self.set in INTERVALS:
            element += _data(ELEM_KEY_END, b"".join(last for _, last in ends))
        if add and self.value:
            limited = self.value.startswith(LIMIT)
            element += _limit(self.value) if limited else _value(VALUES[self.set], self.value)
        return NUMBERS[self.family], (
            attribute(ELEM_TABLE, b"snf_network\0")
            + attribute(ELEM_SET, self.set.encode() + b"\0")
            + nested(ELEM_ELEMENTS, nested(LIST_ELEM, element))
        )

    def is_in(self, view: View) -> bool:
        """The kernel lists a shared member like any other."""
        return Element(*self.fields()) in view.found if self.shared else self in view.found


@dataclass(frozen=True)
class SharedElement(Element):
    """A member that stands for a network rather than for one NIC."""

    shared: ClassVar[bool] = True


@dataclass(frozen=True)
class Hook(Resource):
    """A chain of a NIC at the hook of its own device: its rules go on to chains of netdev.nft."""

    door: ClassVar[str] = "hook"
    heading: ClassVar[str] = "nft -f -"
    tool: ClassVar[str] = "nft"
    place: ClassVar[tuple[str, ...]] = ("interface", "side")
    interface: str
    side: str
    """One of SIDES."""
    rules: str
    """Its rules, with "; " between them."""

    @property
    def chain(self) -> str:
        """Its name: no other chain has a "-" in its name."""
        return f"{self.side}-{self.interface}"

    @property
    def is_pin(self) -> bool:
        """True if no NIC may come up without it."""
        return self.side in ("from", "to")

    @property
    def command(self) -> str:
        """Its first line."""
        return f"nft {self.add()}".partition("\n")[0]

    def add(self) -> str:
        """Several lines, as a binding has: the chain; nothing in it; all that belongs there."""
        (hook, priority), name = SIDES[self.side], f"netdev snf_network {self.chain}"
        kind = f'type filter hook {hook} device "{self.interface}" priority {priority};'
        rules = (f"add rule {name} {rule}" for rule in self.rules.split("; "))
        return "\n".join((f"add chain {name} {{ {kind} }}", f"flush chain {name}", *rules))

    def delete(self) -> str:
        """Fails if it is absent."""
        return f"delete chain netdev snf_network {self.chain}"

    def unsound(self) -> str:
        """As of a member; and no rule ends its line."""
        text = f"{self.side}{self.interface}{self.rules.replace('; ', ' ')}"
        sound = text.isprintable() and self.side in SIDES and not set(text) & set('{};\\"')
        return "" if sound else f"hook={text}"

    @staticmethod
    def listed(entries: list[dict[str, Any]]) -> Iterator[Hook]:
        """Those in the output of `nft -j list table netdev snf_network`."""
        found = {entry["chain"]["name"]: list[str]() for entry in entries if "hook" in entry.get("chain", ())}
        for rule in (entry["rule"] for entry in entries if "rule" in entry):
            if rule["chain"] in found:
                found[rule["chain"]].append(" ".join(map(_statement, rule["expr"])))
        for name, rules in found.items():
            side, _, interface = name.partition("-")
            yield Hook(interface, side, "; ".join(rules))


def _data(kind: int, value: bytes) -> bytes:
    return nested(kind, attribute(DATA_VALUE, value))


def _value(kind: str, value: str) -> bytes:
    """A map's value. Raises ValueError or OSError."""
    if kind != "verdict":
        return _data(ELEM_DATA, U32.pack(int(value)) if kind == "mark" else inet_pton(AF_INET, value))
    verdict, _, chain = value.partition(" ")
    if verdict != "goto":
        raise ValueError(value)
    target = attribute(VERDICT_CODE, GOTO.to_bytes(4, "big")) + attribute(
        VERDICT_CHAIN, chain.encode() + b"\0"
    )
    return nested(ELEM_DATA, nested(DATA_VERDICT, target))


def _limit(value: str) -> bytes:
    """The expression of a member with a limit, `limit rate over N/second burst N packets`. Raises
    ValueError.
    """
    rate, _, burst = value.removeprefix(LIMIT).partition("/second burst ")
    fields = (
        (LIMIT_RATE, int(rate).to_bytes(8, "big")),
        (LIMIT_UNIT, SECOND.to_bytes(8, "big")),
        (LIMIT_BURST, int(burst.removesuffix(" packets")).to_bytes(4, "big")),
        (LIMIT_TYPE, OF_PACKETS.to_bytes(4, "big")),
        (LIMIT_FLAGS, OVER.to_bytes(4, "big")),
    )
    data = b"".join(attribute(kind, field) for kind, field in fields)
    return nested(ELEM_EXPR, attribute(EXPR_NAME, b"limit\0") + nested(EXPR_DATA, data))


def _ends(kind: str, word: str) -> tuple[bytes, bytes]:
    """First and last value of one part of a key, each padded to a multiple of four bytes. Raises ValueError
    or OSError.
    """
    if kind == "address":
        first, last = _addresses(word)
    elif kind == "interface":
        name = word.encode()
        if len(name) > 15:
            raise ValueError(word)
        first = last = name.ljust(16, b"\0")
    elif kind == "mac":
        first = last = bytes.fromhex(word.replace(":", ""))
    elif kind == "vlan":
        first = last = int(word).to_bytes(2, "big")
    else:
        low, _, high = word.partition("-")
        first, last = (bytes.fromhex(digits.removeprefix("0x")) for digits in (low, high or low))
    padding = bytes(-len(first) % 4)
    return first + padding, last + padding


def _addresses(word: str) -> tuple[bytes, bytes]:
    """The first and last address of a prefix, or of a single address."""
    address, _, length = word.partition("/")
    first = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    ones = (1 << len(first) * 8 - int(length)) - 1 if length else 0
    return first, (int.from_bytes(first, "big") | ones).to_bytes(len(first), "big")


def listed(family: str, entries: list[dict[str, Any]]) -> Iterator[Element]:
    """The members of one of our tables, from the output of `nft -j list table`."""
    for entry in entries:
        kind = entry.get("set") or entry.get("map")
        if kind and kind["name"] not in LEARNED:
            for member in kind.get("elem", ()):
                yield _member(family, kind["name"], member)


def _member(family: str, name: str, member: Any) -> Element:
    key, value = member if isinstance(member, list) else (member, "")
    if isinstance(key, dict) and "elem" in key:  # it has a limit, or is an administrator's with a comment
        value = value or _limited(key["elem"].get("limit"))
        key = key["elem"]["val"]
    parts = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
    named = NAMED.get(name, 0)
    words = [f'"{part}"' if place == named else _word(part, name) for place, part in enumerate(parts)]
    interface = words.pop(0)[1:-1] if named == 0 else ""
    return Element(
        family, name, interface, " . ".join(words), _verdict(value) if isinstance(value, dict) else str(value)
    )


def _statement(said: dict[str, Any]) -> str:
    """A statement of a hook's rule, as Hook has it; of any other its name."""
    ((name, about),) = said.items()
    if name == "limit":
        return _limited(about)
    return f"{name} {about['target']}" if name in ("goto", "jump") else f"{name}"


def _limited(limit: dict[str, Any] | None) -> str:
    """A limit as Element and Hook have it; empty if there is none."""
    if not limit:
        return ""
    per = f"/{limit['per']}"
    if "rate_unit" not in limit:
        return f"{LIMIT}{limit['rate']}{per} burst {limit.get('burst', BURST)} packets"
    rate, burst = (
        limit.get(name, 0) * THOUSANDS[limit.get(f"{name}_unit", "bytes")] for name in ("rate", "burst")
    )
    return f"{LIMIT}{rate} bytes{per} burst {burst} bytes"


def _verdict(value: dict[str, Any]) -> str:
    ((verdict, target),) = value.items()
    return f"{verdict} {target['target']}" if target else verdict


def _word(part: Any, name: str) -> str:
    if isinstance(part, dict) and "range" in part:
        return "-".join(_word(end, name) for end in part["range"])
    if isinstance(part, dict):
        return f"{part['prefix']['addr']}/{part['prefix']['len']}"
    if name in DIGITS and (isinstance(part, int) or part.startswith("0x")):
        return f"0x{int(str(part), 0):0{DIGITS[name]}x}"
    return str(part)
