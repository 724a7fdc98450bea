"""docs/nfdhcpd.md names every key, mode and reason that there is, with the defaults that they have."""

from __future__ import annotations

import re
from pathlib import Path

from snf_network.dhcpd import answers, binding, conf
from snf_network.values import BINDING_KEYS, MOST_ROUTES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "nfdhcpd.md").read_text()


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_columns(text: str, column: int) -> set[str]:
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")
    ][2:]
    return {word for row in rows for word in re.split(r"[, ()]+", row[column]) if word}


def test_bindings() -> None:
    assert first_columns(section("Bindings"), 0) == BINDING_KEYS.keys() | binding.IGNORED


def test_settings() -> None:
    assert first_columns(section("nfdhcpd.conf"), 1) == {key for keys in conf.KEYS.values() for key in keys}


def test_defaults_and_limits() -> None:
    defaults = conf.Conf()
    numbers = (
        defaults.lease_lifetime,
        defaults.lease_renewal,
        defaults.ra_period,
        MOST_ROUTES,
        binding.LARGEST,
        answers.LONGEST,
        conf.LONGEST_PERIOD,
        defaults.dhcp_queue,
        defaults.rs_queue,
        defaults.ns_queue,
        defaults.dhcpv6_queue,
    )
    words = (
        defaults.datapath,
        defaults.pidfile,
        defaults.logdir,
        defaults.user,
        defaults.server_ip,
        *conf.MODES,
        *map(str, numbers),
    )
    assert [word for word in words if not re.search(rf"(?<![\w.]){re.escape(word)}(?![\w])", TEXT)] == []


def test_reasons() -> None:
    told = set(re.findall(r"`([a-z0-9-]+)`", section("What is answered")))
    assert {*answers.NOTED, *answers.DROPS} - {"error"} <= told
