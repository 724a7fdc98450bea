"""nfdhcpd: the daemon that answers guests' DHCP, DHCPv6, router and neighbour solicitations from their
binding files.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from snf_network import __version__
from snf_network.dhcpd import binding, conf, detach, privileges, reports
from snf_network.dhcpd.control import PATH as SOCKET
from snf_network.dhcpd.control import Control
from snf_network.dhcpd.engine import PacketEngine
from snf_network.dhcpd.guests import Guests
from snf_network.dhcpd.links import Links
from snf_network.dhcpd.log import Log
from snf_network.dhcpd.loop import Signals
from snf_network.dhcpd.nfqueue import QueueEngine
from snf_network.dhcpd.notify import Manager
from snf_network.dhcpd.serve import FIRST_ROUND, Server
from snf_network.dhcpd.watch import Refused, Watch
from snf_network.errors import BadConfig, SnfNetworkError

RATE = 100.0
EPILOG = """signals: TERM ends, HUP reads the configuration and all bindings again, USR1 writes who is served to the log.
nfdhcpctl asks a running daemon. All keys of nfdhcpd.conf and of bindings: nfdhcpd.md, in docs or /usr/share/doc/snf-network."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="nfdhcpd",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "-c", "--config", default=conf.PATH, metavar="FILE", help="the configuration (default: %(default)s)"
    )
    parser.add_argument(
        "-f", "--foreground", action="store_true", help="stay in the foreground and log to stderr"
    )
    parser.add_argument("-d", "--debug", action="store_true", help="log every answer")
    parser.add_argument(
        "--check",
        action="store_true",
        help="check the configuration and all bindings, and exit: 0 if all is well",
    )
    parser.add_argument(
        "--engine",
        choices=("packet", "nfqueue"),
        default="packet",
        help="where frames come from: a packet socket (default), or iptables rules with -j NFQUEUE",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=RATE,
        metavar="N",
        help="frames a second that one interface may ask; beyond that it is muted (default: %(default)g)",
    )
    parser.add_argument(
        "--socket", default=SOCKET, metavar="PATH", help="the control socket (default: %(default)s)"
    )
    parser.add_argument("--json-log", action="store_true", help="log JSON objects, one a line")
    return parser.parse_args(argv[1:])


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the daemon. 0: ended by a signal, or well checked; 1: it could not start, or not well."""
    options = arguments(argv)
    os.umask(0o022)
    try:
        settings, warnings = configuration(options.config)
        if options.check:
            return check(settings, warnings)
        with detach.daemon(options.foreground, settings.pidfile, settings.logdir) as ready:
            serve(options, settings, warnings, Manager(environ, os.getpid()), ready)
            return 0
    except SnfNetworkError as error:
        said = str(error)
    except OSError as error:
        said = (f"{error.filename}: " if error.filename else "") + (error.strerror or str(error))
    sys.stderr.write(f"nfdhcpd: {said}\n")
    return 1


def configuration(path: str) -> tuple[conf.Settings, tuple[str, ...]]:
    """The settings in a file, the defaults without one, and warnings. Raises BadConfig."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return conf.read(file.read(), path)
    except FileNotFoundError:
        return conf.Settings(), (f"{path} is missing: all settings are the defaults",)
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from error


def check(settings: conf.Settings, warnings: Sequence[str]) -> int:
    """Print what is wrong with the configuration and the binding files."""
    found = [f"warning: {warning}" for warning in warnings]
    bad = 0
    watch = Watch(settings.datapath)
    for name in sorted(watch.names() or ()):
        try:
            found += [f"warning: {warning}" for warning in binding.parse(name, watch.read(name) or "")[1]]
        except (Refused, binding.BadBinding) as error:
            found.append(f"error: {error}")
            bad += 1
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return int(bad > 0)


def serve(
    options: argparse.Namespace,
    settings: conf.Settings,
    warnings: Sequence[str],
    manager: Manager,
    ready: detach.Ready,
) -> None:
    """Open all that needs root, become somebody else, load the bindings, serve until a signal says to end."""
    log = Log(ready.log, options.json_log, options.debug)
    gc.disable()  # nothing that is loaded is garbage
    guests = Guests(Links(), settings)
    engine = QueueEngine(settings, guests.by_index) if options.engine == "nfqueue" else PacketEngine()
    server = Server(engine, guests.links, Watch(settings.datapath), guests, log, options.rate)
    server.control = Control(options.socket, server.loop, partial(reports.answer, server))
    signals = Signals((signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1))
    privileges.drop(settings.user, engine.capabilities)
    for warning in warnings:
        log.say(warning, "warning")
    server.rescan(within=FIRST_ROUND)
    gc.freeze()
    gc.enable()
    log.say(
        f"{len(guests.by_index)} of {len(guests.by_name)} bindings have their interface; engine {engine.name}"
    )
    manager.ready(f"{len(guests.by_name)} bindings")
    ready.tell()
    server.run(
        signals,
        manager,
        {
            signal.SIGTERM: server.stop,
            signal.SIGINT: server.stop,
            signal.SIGHUP: partial(reload, server, options.config, manager),
            signal.SIGUSR1: partial(dump, server),
        },
    )
    manager.stopping()
    server.control.close()
    log.say("ended")


def reload(server: Server, path: str, manager: Manager) -> None:
    """Read the configuration and all bindings again; a bad configuration changes nothing."""
    manager.reloading()
    try:
        settings, warnings = configuration(path)
        before = server.guests.settings
        for name in ("datapath", "user", "pidfile", "logdir"):
            if getattr(settings, name) != getattr(before, name):
                server.log.say(f"{name} changes with a restart only", "warning")
        for warning in warnings:
            server.log.say(warning, "warning")
        server.guests.configure(settings)
        server.schedule.period = settings.ra_period
    except BadConfig as error:
        server.log.say(f"{error}: the configuration stays as it was", "error")
    server.rescan()
    server.log.say(f"read again: {len(server.guests.by_name)} bindings")
    manager.ready(f"{len(server.guests.by_name)} bindings")


def dump(server: Server) -> None:
    """Who is served, in the log."""
    for name, served in sorted(server.guests.by_name.items()):
        bound = served.binding
        server.log.say(
            f"{name}: {served.state}"
            + (f" {bound.hostname} {bound.mac} {bound.ip} {bound.ip6}" if bound else "")
        )
