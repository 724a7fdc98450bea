"""Rows of the matrix: neighbour discovery, whose targets and options must be the NIC's own."""

from __future__ import annotations

from collections.abc import Callable

from snf_network.selftest import frames as f
from snf_network.selftest.matrix import (
    FREE,
    GATEWAY6,
    GUARD,
    IP,
    LINK_LOCAL,
    NODE6,
    OTHER6,
    ROUTER_LOCAL,
    SERVED,
    Guest,
    Row,
)

S, T = f.SOURCE, f.TARGET
NONCE = f.option(f.NONCE, b"nonce!")
SITE_LOCAL = "fec0::77"
"""Close to the link-local prefix, but outside it."""
TYPE0 = bytes((0, 0, 0, 0, 0, 0, 0))
"""A routing header with no segments left, without its first octet."""
IP6_SRC, LOCAL, ANSWERED = {IP: "ip6-src"}, {LINK_LOCAL: "ip6-ll-src"}, {SERVED: "answered"}


def _ns(options: Callable[[Guest], bytes]) -> Callable[[Guest], bytes]:
    return lambda g: g.group(f.ns(g.ip6, GATEWAY6, options(g)))


ODD_OPTIONS: tuple[tuple[str, Callable[[Guest], bytes]], ...] = (
    ("its MAC and another's", lambda g: g.option(S) + g.option(S, g.foreign)),
    ("its MAC and another option", lambda g: g.option(S) + g.option(5)),
    ("another option and its MAC", lambda g: g.option(5) + g.option(S)),
    ("another option and a nonce", lambda g: g.option(5) + NONCE),
    ("a nonce and another option", lambda g: NONCE + g.option(5)),
    ("its MAC, a nonce and another's MAC", lambda g: g.option(S) + NONCE + g.option(S, g.foreign)),
    ("a nonce, its MAC and another's", lambda g: NONCE + g.option(S) + g.option(S, g.foreign)),
)
NA, NA_MAC, NS_MAC, EXT = {IP: "na-target"}, {IP: "na-lladdr"}, {IP: "ns-lladdr"}, {IP: "nd-ext"}
ND = (
    Row("NA target, a neighbour's", lambda g: g.group(f.na(g.local, OTHER6, g.option(T))), NA),
    Row("NA target, the gateway's", lambda g: g.group(f.na(g.local, GATEWAY6, g.option(T))), NA),
    Row("NA target, the node's", lambda g: g.group(f.na(g.ip6, NODE6)), NA),
    Row(
        "NA target, the router's link-local",
        lambda g: g.group(f.na(g.local, g.router, g.option(T))),
        {ROUTER_LOCAL: "na-target"},
    ),
    Row(
        "NA target, a free link-local",
        lambda g: g.group(f.na(g.ip6, FREE, g.option(T))),
        {LINK_LOCAL: "na-target"},
    ),
    Row("NA target, site-local", lambda g: g.group(f.na(g.ip6, SITE_LOCAL, g.option(T))), NA),
    Row(
        "NA option, a free link-local",
        lambda g: g.group(f.na(FREE, FREE, g.option(T, g.foreign))),
        LOCAL | NA_MAC,
    ),
    Row(
        "NA with two options, a free link-local",
        lambda g: g.group(f.na(FREE, FREE, g.option(T) * 2)),
        LOCAL | NA_MAC,
    ),
    Row("NA with another option", lambda g: g.group(f.na(g.ip6, g.ip6, g.option(5))), NA_MAC),
    Row("NS with another option", lambda g: g.group(f.ns(g.ip6, GATEWAY6, g.option(5))), NS_MAC),
    Row(
        "RS with another option", lambda g: g.group(f.rs(g.local, g.option(5))), {IP: "rs-lladdr"} | ANSWERED
    ),
    Row(
        "RS with two options", lambda g: g.group(f.rs(g.local, g.option(S) * 2)), {IP: "rs-lladdr"} | ANSWERED
    ),
    Row("DAD, site-local", lambda g: g.group(f.ns("::", SITE_LOCAL)), {IP: "dad-target"}),
    Row(
        "DAD with an option, a free link-local",
        lambda g: g.group(f.ns("::", FREE, g.option(S))),
        {LINK_LOCAL: "dad-target"} | NS_MAC,
    ),
    Row("DAD with two nonces", lambda g: g.group(f.ns("::", g.ip6, NONCE * 2)), NS_MAC),
    Row("NA option", lambda g: g.group(f.na(g.ip6, g.ip6, g.option(T, g.foreign))), NA_MAC),
    Row(
        "NA option, second",
        lambda g: g.group(f.na(g.ip6, g.ip6, g.option(T) + g.option(T, g.foreign))),
        NA_MAC,
    ),
    Row("NS source, a neighbour's", lambda g: g.group(f.ns(OTHER6, GATEWAY6, g.option(S))), IP6_SRC),
    Row("NS option", lambda g: g.group(f.ns(g.ip6, GATEWAY6, g.option(S, g.foreign))), NS_MAC),
    Row(
        "NS option, second", lambda g: g.group(f.ns(g.ip6, GATEWAY6, NONCE + g.option(S, g.foreign))), NS_MAC
    ),
    *(Row(f"NS with {name}", _ns(options), NS_MAC) for name, options in ODD_OPTIONS),
    Row(
        "NS option before a nonce",
        lambda g: g.group(f.ns(g.ip6, GATEWAY6, g.option(S, g.foreign) + NONCE)),
        NS_MAC,
    ),
    Row("NS with two nonces", lambda g: g.group(f.ns(g.ip6, GATEWAY6, NONCE + NONCE)), NS_MAC),
    Row("RS option", lambda g: g.group(f.rs(g.local, g.option(S, g.foreign))), {IP: "rs-lladdr"} | ANSWERED),
    Row("DAD, a neighbour's", lambda g: g.group(f.ns("::", OTHER6)), {IP: "dad-target"}),
    Row("DAD, the gateway's", lambda g: g.group(f.ns("::", GATEWAY6, NONCE)), {IP: "dad-target"}),
    Row(
        "DAD, the router's link-local", lambda g: g.group(f.ns("::", g.router)), {ROUTER_LOCAL: "dad-target"}
    ),
    Row("DAD with an option", lambda g: g.group(f.ns("::", g.ip6, g.option(S))), NS_MAC),
    Row("NA, atomic fragment", lambda g: g.group(f.fragmented(f.na(g.ip6, g.ip6, g.option(T)))), EXT),
    Row("NS, first fragment", lambda g: g.group(f.fragmented(f.ns(g.ip6, GATEWAY6), more=True)), EXT),
    Row(
        "NA behind hop-by-hop options",
        lambda g: g.group(f.behind(f.na(g.local, OTHER6), 0, bytes((0, 1, 4, 0, 0, 0, 0)))),
        EXT,
    ),
    Row("NA behind destination options", lambda g: g.group(f.with_dstopts(f.na(g.local, OTHER6))), EXT),
    Row(
        "NA behind both",
        lambda g: g.group(f.behind(f.with_dstopts(f.na(g.local, OTHER6)), 0, bytes((0, 1, 4, 0, 0, 0, 0)))),
        EXT,
    ),
    Row(
        "NA behind a routing header",
        lambda g: g.group(f.behind(f.na(g.local, OTHER6), f.ROUTING, TYPE0)),
        EXT,
    ),
    Row(
        "NA behind options in a fragment",
        lambda g: g.group(f.fragmented(f.with_dstopts(f.na(g.local, OTHER6)))),
        EXT,
    ),
    Row("NA behind AH", lambda g: g.group(f.behind_ah(f.na(g.local, OTHER6))), EXT | {GUARD: "nd-ext"}),
)
