"""The daemon from start to end: open everything that needs root, switch to another user, load the bindings,
serve.

The command line is in commands/nfdhcpd.py.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from snf_network.dhcpd import conf, detach, privileges, reports
from snf_network.dhcpd.binding import BadBinding, parse
from snf_network.dhcpd.control import PATH as SOCKET
from snf_network.dhcpd.control import Control
from snf_network.dhcpd.guests import Guests
from snf_network.dhcpd.links import Links
from snf_network.dhcpd.log import EventLog
from snf_network.dhcpd.loop import Signals
from snf_network.dhcpd.nfqueue import QueueEngine
from snf_network.dhcpd.notify import Manager
from snf_network.dhcpd.packet_socket import PacketEngine
from snf_network.dhcpd.responder import FIRST_ROUND, Responder
from snf_network.dhcpd.source import Source, load
from snf_network.dhcpd.watch import UntrustedFile, Watch
from snf_network.errors import BadConfig

ENGINES = ("packet", "nfqueue")
NET_BIND_SERVICE = 1 << 10
"""For port 67, which only a relay opens."""
RESTARTED = ("datapath", "user", "pidfile", "logdir")
"""Settings that take effect only after a restart."""


@dataclass(frozen=True)
class Options:
    """The options from the command line."""

    config: str = conf.PATH
    engine: str = "packet"
    rate: float = 100.0
    """Maximum number of frames per second from one interface."""
    socket: str = SOCKET
    foreground: bool = False
    json_log: bool = False
    debug: bool = False


def run(options: Options, variables: Mapping[str, str]) -> None:
    """Run the daemon until a signal ends it; `variables` are the environment. Raises SnfNetworkError and
    OSError if it cannot start.
    """
    settings, warnings = configuration(options.config)
    with detach.daemon(options.foreground, settings.pidfile, settings.logdir) as ready:
        log = EventLog(ready.log, options.json_log, options.debug)
        gc.disable()  # nothing loaded so far is garbage
        responder = _opened(options, settings, log)
        _serve(responder, options.config, warnings, Manager(variables, os.getpid()), ready)


def check(path: str) -> Iterator[tuple[str, str]]:
    """Problems of the configuration and the binding files: `error` or `warning`, and description.

    Raises BadConfig, and OSError if there is no directory of bindings.
    """
    settings, warnings = configuration(path)
    yield from (("warning", text) for text in warnings)
    yield from (("error", text) for text in load()[1])
    watch = Watch(settings.datapath)
    for name in sorted(watch.names() or ()):
        try:
            yield from (("warning", text) for text in parse(name, watch.read(name) or "")[1])
        except (UntrustedFile, BadBinding) as error:
            yield "error", str(error)


def configuration(path: str) -> tuple[conf.Conf, tuple[str, ...]]:
    """The settings in a file, or the defaults without one, and warnings. Raises BadConfig."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return conf.read(file.read(), path)
    except FileNotFoundError:
        return conf.Conf(), (f"{path} is missing: all settings are the defaults",)
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from error


def _opened(options: Options, settings: conf.Conf, log: EventLog) -> Responder:
    """Open the daemon's sockets, which needs root, then drop root's privileges."""
    guests = Guests(Links(), settings)
    engine = QueueEngine(settings, guests.by_index) if options.engine == "nfqueue" else PacketEngine()
    responder = Responder(engine, guests.links, Watch(settings.datapath), guests, log, options.rate, Source())
    responder.control = Control(options.socket, responder.loop, partial(reports.answer, responder))
    privileges.drop(settings.user, engine.capabilities | NET_BIND_SERVICE)
    return responder


def _serve(
    responder: Responder, path: str, warnings: Sequence[str], manager: Manager, ready: detach.Ready
) -> None:
    """Load the bindings, report that guests are served, and serve until a signal ends it."""
    signals = Signals((signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1))
    guests, log = responder.guests, responder.log
    for warning in warnings:
        log.say(warning, "warning")
    responder.rescan(within=FIRST_ROUND)
    gc.freeze()
    gc.enable()
    served, known = len(guests.by_index), len(guests.by_name)
    log.say(f"{served} of {known} bindings have their interface; engine {responder.engine.name}")
    manager.ready(f"{known} bindings")
    ready.tell()
    on_signal: dict[int, Callable[[], None]] = {
        signal.SIGTERM: responder.stop,
        signal.SIGINT: responder.stop,
        signal.SIGHUP: partial(reload, responder, path, manager),
        signal.SIGUSR1: partial(dump, responder),
    }
    responder.run(signals, manager, on_signal)
    manager.stopping()
    if responder.control:
        responder.control.close()
    log.say("ended")


def reload(responder: Responder, path: str, manager: Manager) -> None:
    """Read the configuration and all bindings again. An invalid configuration changes nothing."""
    manager.reloading()
    log, guests = responder.log, responder.guests
    try:
        settings, warnings = configuration(path)
        for name in RESTARTED:
            if getattr(settings, name) != getattr(guests.conf, name):
                log.say(f"{name} changes only with a restart", "warning")
        for warning in warnings:
            log.say(warning, "warning")
        guests.configure(settings, guests.defaults)
        responder.schedule.period = settings.ra_period
    except BadConfig as error:
        log.say(f"{error}: the configuration stays as it was", "error")
    responder.reread()
    responder.rescan()
    log.say(f"read again: {len(guests.by_name)} bindings")
    manager.ready(f"{len(guests.by_name)} bindings")


def dump(responder: Responder) -> None:
    """Log which guests are served."""
    for name, served in sorted(responder.guests.by_name.items()):
        bound = served.binding
        guest = f" {bound.hostname} {bound.mac} {bound.ip} {bound.ip6}" if bound else ""
        responder.log.say(f"{name}: {served.state}{guest}")
