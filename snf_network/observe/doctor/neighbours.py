"""Programs of the node that remove what is not theirs, and the drop-ins that keep them from it."""

from __future__ import annotations

from glob import glob
from typing import TYPE_CHECKING

from snf_network.observe.doctor import systemd
from snf_network.observe.doctor.finding import WARNING, Finding
from snf_network.observe.doctor.look import Look

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = ("ManageForeignRoutes", "ManageForeignRoutingPolicyRules")
LEAVE = (
    "mkdir -p /etc/systemd/networkd.conf.d; printf '[Network]\\nManageForeignRoutes=no\\n"
    "ManageForeignRoutingPolicyRules=no\\n' > /etc/systemd/networkd.conf.d/zzz-snf-network.conf; "
    "systemctl restart systemd-networkd; snf-network repair"
)
"""The last file wins."""
TAPS = "network/05-snf-network.network"
MANAGERS = ("/etc/NetworkManager", "/run/NetworkManager", "/usr/lib/NetworkManager")
REINSTALL = "apt install --reinstall snf-network"


def networkd(look: Look) -> Iterator[Finding]:
    """systemd-networkd takes away routes and rules of others when it starts, unless told otherwise."""
    if "systemd-network" not in systemd.running():
        return
    for key in KEYS:
        value, path = (systemd.assigned("networkd.conf", key) or [("", "")])[-1]
        if value.lower() not in systemd.NO:
            thing = "routes" if key == KEYS[0] else "policy rules"
            place = f" in {path}" if path else ""
            what = f"systemd-networkd removes the guests' {thing} when it starts: {key} is not no{place}"
            yield Finding(WARNING, "networkd", what, LEAVE)
    if not systemd.file_of(TAPS):
        what = "systemd-networkd manages the taps as soon as a .network file is for all devices"
        yield Finding(WARNING, "networkd", what, f"{REINSTALL}; networkctl reload")


def network_manager(look: Look) -> Iterator[Finding]:
    """NetworkManager manages each device that it is not told to leave alone."""
    told = any(glob(f"{folder}/conf.d/snf-network.conf") for folder in MANAGERS)
    if "NetworkManager" in systemd.running() and not told:
        what = "NetworkManager manages the taps, and may take them from their guests"
        yield Finding(WARNING, "network-manager", what, f"{REINSTALL}; systemctl reload NetworkManager")


def nftables(look: Look) -> Iterator[Finding]:
    """nftables.service flushes the rules of everybody, and nft-keep restores ours in the same transaction."""
    unit = "nftables.service"
    if not look.systemd or not systemd.is_enabled(unit):
        return
    for key in ("ExecStart", "ExecReload", "ExecStop"):
        for command, path in systemd.assigned(f"system/{unit}", key):
            if "nft-keep" not in command:
                what = f"{unit} flushes the guests' filters: {key} in {path} is not nft-keep"
                mend = f"{REINSTALL}; systemctl daemon-reload; systemctl cat {unit}"
                yield Finding(WARNING, "nftables-service", what, mend)
                return
