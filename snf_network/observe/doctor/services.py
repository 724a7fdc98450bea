"""Our own units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snf_network.model.config import dns_is_on
from snf_network.observe.doctor import systemd
from snf_network.observe.doctor.finding import CRITICAL, WARNING, Finding
from snf_network.observe.doctor.look import Look, said, several

if TYPE_CHECKING:
    from collections.abc import Iterator

    from snf_network.model.config import Config

UNITS = {
    "snf-network-repair.service": "after a boot, guests wait for the first NIC to load the rules",
    "snf-network-gc.timer": "nothing that is lost comes back by itself, and what gone guests had stays: "
    "Ganeti 3.0 and 3.1 call no ifdown, and 3.2 calls none when it unplugs a NIC",
}
DHCP = {"nfdhcpd.service": "guests get no answer to DHCP"}
DNS = {
    "snf-network-dns.path": "names reach DNS late",
    "snf-network-dns.timer": "names that could not be sent are not tried again",
}
HOMES = ("/home", "/root", "/run/user")
CLOSED = (*HOMES, "/usr", "/boot", "/etc", "/efi")
"""What ProtectHome=yes and ProtectSystem=full take from a unit (systemd.exec(5))."""
WRITERS = ("snf-network-repair.service", "snf-network-gc.service")
WORKERS = {
    "snf-network-gc.timer": "snf-network-gc.service",
    "snf-network-dns.timer": "snf-network-dns.service",
}
"""What a timer starts: it fails, not the timer."""


def _units(config: Config) -> dict[str, str]:
    """The units that this node needs, and what happens without; those that are not installed are left out."""
    wanted = {
        **UNITS,
        **(DHCP if config.nfdhcpd_engine == "packet" else {}),
        **(DNS if dns_is_on(config) else {}),
    }
    return {unit: why for unit, why in wanted.items() if systemd.file_of(f"system/{unit}")}


def services(look: Look) -> Iterator[Finding]:
    """Units of ours that systemd would not start, or that failed or were stopped."""
    if not look.systemd:
        return
    units = _units(look.config)
    states = _states(*units, *(WORKERS[unit] for unit in units if unit in WORKERS))
    for unit, why in units.items():
        severity = CRITICAL if unit in DHCP else WARNING
        worker = WORKERS.get(unit, unit)
        if not systemd.is_enabled(unit):
            yield Finding(severity, "unit", f"{unit} is not enabled: {why}", f"systemctl enable --now {unit}")
        elif "failed" in (states.get(unit), states.get(worker)):
            failed = unit if states.get(unit) == "failed" else worker
            mend = f"journalctl -u {failed}; systemctl restart {failed}"
            yield Finding(severity, "unit", f"{failed} has failed: {why}", mend)
        elif states.get(unit) == "inactive":
            yield Finding(severity, "unit", f"{unit} is stopped: {why}", f"systemctl start {unit}")


def paths(look: Look) -> Iterator[Finding]:
    """STATE_DIR and LOGFILE where our units may not write: systemd shows them these folders read-only or not
    at all.
    """
    if not look.systemd:
        return
    for key, path in (("STATE_DIR", look.config.state_dir), ("LOGFILE", look.config.logfile)):
        folder = next((one for one in CLOSED if f"{path}/".startswith(f"{one}/")), "")
        shut = [unit for unit in WRITERS if folder and not _may_write(unit, path)]
        if shut:
            home = " and ProtectHome=no" * (folder in HOMES)
            what = f"{key} {path} is read-only for {several(shut)}: what they do is lost or not logged"
            mend = f"systemctl edit {' '.join(shut)}  # in [Service]: ReadWritePaths={path}{home}"
            yield Finding(WARNING, "unit-paths", what, mend)


def _may_write(unit: str, path: str) -> bool:
    """True if the unit is not installed, or may write there."""
    told = [
        word for value, _ in systemd.assigned(f"system/{unit}", "ReadWritePaths") for word in value.split()
    ]
    open_to = [word.lstrip("-+").rstrip("/") for word in told]
    allowed = any(f"{path}/".startswith(f"{one}/") for one in open_to)
    return allowed or not systemd.file_of(f"system/{unit}")


def _states(*units: str) -> dict[str, str]:
    """ActiveState of each unit; empty if systemd does not answer. A unit that is started again and again, as
    nfdhcpd.service is without end, counts as failed.
    """
    argv = ("systemctl", "show", "--property=Id,ActiveState,SubState", *units)
    blocks = said(*argv).split("\n\n") if units else []
    rows = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]
    return {
        row["Id"]: "failed" if row["SubState"] == "auto-restart" else row["ActiveState"]
        for row in rows
        if row.keys() >= {"Id", "ActiveState", "SubState"}
    }
