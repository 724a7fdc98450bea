"""Tell what will bite on this node, before it does. Each finding says what breaks, and the command that mends
it.

Nothing is changed. `snf-network check` compares the node with its records; this looks at what surrounds them:
kernel settings, routes, bridges, rules and programs of others, Ganeti's links, directories, clock and name
servers. The exit status and the first line are those of a monitoring plugin:

  0  OK        nothing was found
  1  WARNING   it works, but one more event, such as a reboot, is needed to break it
  2  CRITICAL  guests have no network, or a NIC will not come up or not be filtered
  3  UNKNOWN   this command itself could not look
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from functools import partial

from snf_network.errors import SnfNetworkError
from snf_network.host import kernel
from snf_network.model.config import Config, dns_is_on
from snf_network.observe.doctor.all import CHECKS, found
from snf_network.observe.doctor.finding import CRITICAL, SEVERITIES, UNKNOWN, WARNING, Finding
from snf_network.observe.doctor.look import Look

from . import table

SUMMARY = "tell what will bite on this node, before it does; exit status of a monitoring plugin"
STATUS = {WARNING: 1, CRITICAL: 2, UNKNOWN: 3}
PATIENCE = 8.0
"""Seconds for all tools together: a monitor waits for 10 (check_nrpe) and hears nothing after that."""
SECONDS = 2.0
"""After this time, and then again, a terminal is told which check is at work."""
LONGEST = 160
"""Characters of the first line's descriptions: it may be sent to a pager."""
UNREACHED = "names of guests are not updated until it answers"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Output options."""
    parser.add_argument("--json", action="store_true", help="print JSON: a list of objects")


def run(options: argparse.Namespace, config: Config) -> int:
    """Print the findings, the worst first. Returns the status of the worst."""
    kernel.give_up_after(PATIENCE)
    findings = sorted(_all(config), key=lambda one: SEVERITIES.index(one.severity))
    if options.json:
        sys.stdout.write(json.dumps([one._asdict() for one in findings], indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in text(findings)))
    return STATUS[findings[0].severity] if findings else 0


def _all(config: Config) -> list[Finding]:
    try:
        look = Look(config)
    except (SnfNetworkError, OSError) as error:
        return [Finding(UNKNOWN, "doctor", f"cannot look at this node: {error}", "snf-network check")]
    checks = {name: partial(check, look) for name, check in CHECKS.items()}
    checks |= {"settings": partial(_settings, config), "name servers": partial(_dns, config)}
    findings = list[Finding]()
    at_work = [""]
    _report(at_work)
    for at_work[0], check in checks.items():
        findings += found(at_work[0], check)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return findings


def _report(at_work: list[str]) -> None:
    """From now on, tell a terminal what takes so long."""

    def say(*_: object) -> None:
        sys.stderr.write(f"snf-network: looking at: {at_work[0]} ...\n")

    if sys.stderr.isatty():
        signal.signal(signal.SIGALRM, say)
        signal.setitimer(signal.ITIMER_REAL, SECONDS, SECONDS)


def _settings(config: Config) -> Iterator[Finding]:
    for words in config.errors:
        what = f"{words}: no NIC comes up before the line is put right"
        yield Finding(CRITICAL, "settings", what, "editor /etc/default/snf-network")


def _dns(config: Config) -> Iterator[Finding]:
    if dns_is_on(config):
        from snf_network.dns.check import complaints  # YAML and a codec cost 40 ms: only with DNS
        from snf_network.dns.reach import silent_servers

        for words in complaints(config):
            yield Finding(WARNING, "dns", words, "snf-network dns list")
        for server, why in silent_servers(config):
            what = f"name server {why}: {UNREACHED}"
            yield Finding(
                WARNING, "dns-server", what, f"dig @{server.replace(' port ', ' -p ')} SOA {config.fzone}"
            )


def text(findings: list[Finding]) -> Iterator[str]:
    """A summary in one line, then two lines for each finding."""
    yield _plain(_summary(findings))
    for one in findings:
        yield _plain(f"{one.severity.upper():8} {one.check}: {one.what}")
        yield _plain(f"         {one.mend}")


def _summary(findings: list[Finding]) -> str:
    if not findings:
        return f"OK: {len(CHECKS) + 2} checks found nothing"
    counts = {severity: sum(one.severity == severity for one in findings) for severity in SEVERITIES}
    numbers = ", ".join(
        f"{count} {severity}{'s' if severity == WARNING and count > 1 else ''}"
        for severity, count in counts.items()
        if count
    )
    words = "; ".join(one.what for one in findings)
    words = words if len(words) <= LONGEST else f"{words[: LONGEST - 4]} ..."
    return f"{findings[0].severity.upper()}: {numbers}: {words}"


def _plain(line: str) -> str:
    """A line without `|`: a monitor takes what follows for figures."""
    return table.coloured(table.plain(line).replace("|", "\\x7c"))
