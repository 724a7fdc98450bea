"""The networks of this node: routing tables with their uplinks, bridges, and overlays over all nodes, as
/etc/snf-network/networks.yaml has them.

`plan` prints what `up` would do, as lines to type. `up` does it: a second time it does nothing, and after a
change in the file only what differs. `down` takes networks away again, unless a guest is in one. `check`
compares the file, the records and the kernel; with --file it only reads the file. `key` makes this node's
private key of WireGuard, if it has none yet, and prints this node's line for networks.yaml, with the public
one. `dhcp-config` prints what a DHCP server of your own needs for the guests of one network.
docs/networks.md has the keys of the file. `ifup` and `ifdown` do the same for one stanza of
/etc/network/interfaces, whose options ifupdown has put into the environment; the package's scripts in
/etc/network/if-*.d run them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence

from snf_network.apply.networks import Networks, records
from snf_network.errors import BadConfig, BadEnvironment, SnfNetworkError, shown
from snf_network.host.wireguard import make_key, public_of
from snf_network.model.config import Config
from snf_network.model.networks import Bridge, Overlay, Routed, WireGuard
from snf_network.model.networks.change import Change
from snf_network.model.networks.file import PATH, mistakes
from snf_network.model.networks.stanza import is_stanza, name_of, uplink_of
from snf_network.networks import EVPN, FRR_CONF, UNDERLAY
from snf_network.networks.dhcp import FORMATS
from snf_network.observe.networks import ups
from snf_network.observe.nodes import SSCONF
from snf_network.scripts.process import Log

from . import dhcp_config, evpn, table
from .networks import (
    bring_up,
    differences,
    load,
    of_stanza,
    own_member,
    removal,
    selected,
    stanza_change,
    text_of,
    tunnels,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from snf_network.apply.networks import Look
    from snf_network.model.networks import Network

SUMMARY = "the networks of this node: tables, bridges, overlays over all nodes"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and to which networks."""
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("name", nargs="*", help="networks; without any, all")
    parser.add_argument("--all", action="store_true", help="down: all networks that are up")
    parser.add_argument("--frr", action="store_true", help="plan: print only the lines for FRR (engine evpn)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--format", choices=FORMATS, default="isc", help="dhcp-config: for ISC dhcpd, Kea or dnsmasq"
    )
    parser.add_argument("--file", metavar="FILE", help=f"another file than {PATH}")
    parser.add_argument(
        "--ssconf", metavar="DIRECTORY", default=SSCONF, help=f"where Ganeti's ssconf files are ({SSCONF})"
    )


def run(options: argparse.Namespace, config: Config) -> int:
    """0: done, or no difference; 1: something failed or differs."""
    return int(ACTIONS[options.action](options, config))


def _list(options: argparse.Namespace, config: Config) -> int:
    known = {record.interface: record for record in records(config)}
    file, place = load(options.file or PATH, options.ssconf, known)
    chosen = selected(place, options.name, options.file or PATH)
    states = {one.name: _state(one, one.name in known) for one in evpn.ups(chosen, known)}
    rows = [(*_row(one), states[one.name]) for one in place.networks.networks if one.name in states]
    if not options.name:
        stanzas = {name: known[name].resources for name in sorted(known) if is_stanza(name)}
        found = ((one.name, _state(one, True)) for one in ups(stanzas, known))
        rows += [(name, "routed", uplink_of(name), "", "", state) for name, state in found]
        gone = sorted(known.keys() - states.keys() - stanzas.keys() - {UNDERLAY, EVPN, *dict(place.left_out)})
        rows += [(name, "", "", "", "", "up, and not in the file") for name in gone]
        every = {one.name: _row(one) for one in file.common.networks}
        rows += [(name, every[name][1], "", "", "", why) for name, why in place.left_out]
    if options.json:
        _print([dict(zip(map(str.lower, HEADING), row, strict=True)) for row in rows])
    else:
        sys.stdout.write(table.text(HEADING, rows))
    return 0


HEADING = ("NETWORK", "KIND", "DEVICE", "VNI", "MTU", "STATE")


def _row(network: Network) -> tuple[str, ...]:
    if isinstance(network, Overlay):
        first, last = network.vnis[0], network.vnis[-1]
        vnis = str(first) if len(network.vnis) == 1 else f"{first}..{last} ({len(network.vnis)})"
        return network.name, "overlay", network.bridge, vnis, str(network.mtu)
    if isinstance(network, WireGuard):
        return network.name, "wireguard", network.device, "", str(network.mtu)
    if isinstance(network, Bridge):
        return network.name, "bridge", network.bridge, "", str(network.mtu)
    assert isinstance(network, Routed)
    return network.name, "routed", network.uplink, "", ""


def _state(change: Change, recorded: bool) -> str:
    if not recorded and change.wanted:
        return "down"
    return "differs" if change.missing or change.removed or change.refused else "up"


def _plan(options: argparse.Namespace, config: Config) -> int:
    place = load(options.file or PATH, options.ssconf)[1]
    lines = evpn.lines(place.networks, place.site)
    if options.frr:
        return _frr(lines, options)
    known = {record.interface: record for record in records(config)}
    changes = bring_up(place, selected(place, options.name, options.file or PATH), known)
    if options.json:
        _print(
            [{"network": one.name, "lines": list(one.lines), "refused": list(one.refused)} for one in changes]
        )
    else:
        for one in changes:
            said = [*(f"# refused: {words}" for words in one.refused), *one.lines]
            sys.stdout.write("".join(f"{table.plain(line)}\n" for line in (f"# {one.name}", *said) if said))
        if lines and not (place.networks.evpn and place.networks.evpn.block):
            sys.stdout.write(f"# FRR: {FRR_CONF} must have these lines (only them: --frr)\n")
            sys.stdout.write("".join(f"# {line}\n" for line in lines))
    return int(any(one.refused for one in changes))


def _frr(lines: Sequence[str], options: argparse.Namespace) -> int:
    """The lines for FRR alone: to be read, or for `vtysh -f`."""
    if not lines:
        raise BadEnvironment(f"no network of {options.file or PATH} has engine evpn", "docs/networks.md")
    if options.json:
        _print({"frr": list(lines)})
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _up(options: argparse.Namespace, config: Config) -> int:
    place = load(options.file or PATH, options.ssconf)[1]
    wanted = selected(place, options.name, options.file or PATH)
    every = (one for some in wanted.values() for one in some)
    done = Networks(config).change(lambda known: bring_up(place, wanted, known), every)
    left = [(name, why) for name, why in place.left_out if not options.name]
    return _report(options, config, [*done, *((Change(name), [why]) for name, why in left)])


def _down(options: argparse.Namespace, config: Config) -> int:
    engine = Networks(config)
    known = [record.interface for record in engine.records if record.interface not in (UNDERLAY, EVPN)]
    for name in options.name:
        if name not in known:
            raise BadEnvironment(f"{shown(name)} is not up", "snf-network net list")
    if bool(options.name) == options.all:
        raise BadEnvironment("net down needs the names of networks, or --all", "snf-network net list")
    names = known if options.all else options.name
    return _report(options, config, engine.change(lambda records: removal(names, records)))


def _report(options: argparse.Namespace, config: Config, done: Iterable[tuple[Change, list[str]]]) -> int:
    log, failed, told = Log("snf-network", path=config.logfile), [], []
    for change, why in done:
        failed += [{"network": change.name, "what": words} for words in why]
        if not why and change.given and not options.json:
            sys.stdout.write(f"{change.name}: {len(change.given)} entries are FRR's now\n")
        if not why and change.lines:
            told.append({"network": change.name, "lines": list(change.lines)})
            verb = "taken away" if change.goes else "put in place"
            log.of(change.name).log(f"network {verb}: {len(change.lines)} changes: {change.lines[0]}")
            if not options.json:
                sys.stdout.write(f"{change.name}: {verb}: {len(change.lines)} changes\n")
                sys.stdout.write(f"{EVPN}: {evpn.READ_AGAIN}\n" if change.name == EVPN else "")
    if options.json:
        _print({"done": told, "failed": failed})
    for one in failed:
        log.of(one["network"]).say(f"{one['network']}: {one['what']}")
    return int(bool(failed))


def _check(options: argparse.Namespace, config: Config) -> int:
    if options.file:
        found = [("-", words) for words in mistakes(text_of(options.file), options.file)]
    else:
        found = [
            row
            for row in differences(config, PATH, options.ssconf)
            if not options.name or row[0] in options.name
        ]
    if options.json:
        _print([{"network": name, "what": words} for name, words in found])
    else:
        lines = (f"{words}\n" if name == "-" else f"{name}: {words}\n" for name, words in found)
        sys.stdout.write("".join(lines) or "clean\n")
    return int(bool(found))


def _print(what: object) -> None:
    sys.stdout.write(json.dumps(what, indent=2) + "\n")


def _ifup(options: argparse.Namespace, config: Config) -> int:
    return _of_stanza(options, config, lambda: stanza_change(*of_stanza(os.environ)))


def _ifdown(options: argparse.Namespace, config: Config) -> int:
    def look() -> Look:
        name = name_of(os.environ)
        return lambda known: removal({name} & known.keys(), known)

    return _of_stanza(options, config, look)


def _of_stanza(options: argparse.Namespace, config: Config, made: Callable[[], Look]) -> int:
    """What fails is logged, too: at boot nobody reads it elsewhere."""
    try:
        done = Networks(config).change(made())
    except SnfNetworkError as error:
        Log("snf-network", os.environ.get("IFACE", "-"), config.logfile).say(error)
        return 1
    return _report(options, config, done)


def _key(options: argparse.Namespace, config: Config) -> int:
    """Make the key unless it is there, and print what the other nodes need to know of it."""
    tunnel = _tunnel(options.name, options.file or PATH)
    made, public = make_key(tunnel.key), public_of(tunnel.key)
    sys.stderr.write(f"{tunnel.key}: {'made' if made else 'is there already, and stays'}\n")
    name, address, endpoint = own_member(tunnel, options.ssconf)
    where = f', endpoint: "{endpoint}"' if endpoint else ""
    line = f'{name}: {{address: "{address}", public: "{public}"{where}}}'
    if options.json:
        _print({"key": tunnel.key, "made": made, "public": public, "line": line})
    else:
        sys.stdout.write(f"{line}\n")
    return 0


def _tunnel(names: Sequence[str], path: str) -> WireGuard:
    """The network of that name; without a name, the only one in the file, or one as if it were there."""
    try:
        known = tunnels(path)
    except BadConfig:
        if names:
            raise
        known = {}
    chosen = [known[name] for name in names or known if name in known]
    if names and len(chosen) != 1:
        raise BadEnvironment(f"{shown(names[0])} is no network of kind wireguard in {path}", "net list")
    return chosen[0] if len(chosen) == 1 else WireGuard("", "", ())


ACTIONS = {
    "list": _list,
    "plan": _plan,
    "up": _up,
    "down": _down,
    "check": _check,
    "dhcp-config": dhcp_config.run,
    "key": _key,
    "ifup": _ifup,
    "ifdown": _ifdown,
}
