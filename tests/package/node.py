"""A Ganeti node with an overlay over /usr too, so that packages come and go without touching the real
machine.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.netns.lab import ROOT, Lab, Machine

LINKS = {
    "/etc/ganeti/kvm-vif-bridge": "kvm-ifup-custom",
    "/etc/ganeti/kvm-ifup-custom": "kvm-ifup-custom",
    "/etc/ganeti/kvm-ifdown-custom": "kvm-ifdown-custom",
    **{
        f"/etc/ganeti/network/{mode}/up": "kvm-ifup-custom"
        for mode in ("bridged", "ext", "openvswitch", "routed")
    },
    **{
        f"/etc/ganeti/network/{mode}/down": "kvm-ifdown-custom"
        for mode in ("bridged", "ext", "openvswitch", "routed")
    },
    **{
        f"/etc/ganeti/hooks/instance-{operation}-post.d/snf-network-hook": "snf-network-hook"
        for operation in (
            "add",
            "failover",
            "migrate",
            "modify",
            "move",
            "reboot",
            "remove",
            "rename",
            "stop",
        )
    },
    **{
        f"/etc/ganeti/hooks/instance-{operation}-post.d/snf-network-dnshook": "snf-network-dnshook"
        for operation in ("modify", "remove", "rename", "stop")
    },
    "/etc/ganeti/hooks/instance-modify-post.d/snf-network-reconfigure": "snf-network-reconfigure",
    "/etc/xen/scripts/vif-custom": "vif-custom",
}
"""Where Ganeti and Xen look, and which script is there."""
USR = """
mkdir /mnt/usr /mnt/usr.work
mount -t overlay overlay -o lowerdir=/usr,upperdir=/mnt/usr,workdir=/mnt/usr.work /usr
mount -t tmpfs tmpfs /run
"""
PURGE = "dpkg-query -W snf-network nfdhcpd 2> /dev/null | cut -f 1 | xargs -r dpkg --purge"
UNITS = {
    path.name.removeprefix("snf-network.") if path.name.startswith("snf-network.snf-") else path.name: path
    for ending in ("service", "timer", "path")
    for path in (ROOT / "debian").glob(f"*.{ending}")
}
"""The packages' units: name, and file in debian/."""


class Node:
    """One node, its router, and what a test does on it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.router = lab.router()
        self.machine = self.made()

    def made(self) -> Machine:
        """The machine, joined to the router, without the package."""
        machine = self.lab.node("node1", self.router)
        machine.run("sh", "-ec", USR + PURGE)
        return machine

    def dpkg(self, *arguments: object, check: bool = True) -> str:
        """Run dpkg as an administrator who keeps his files; what it printed. Triggers, those of man-db
        mostly, are left out.
        """
        ran = self.machine.run(
            "dpkg", "--no-triggers", "--force-confold", *arguments, check=check, timeout=300
        )
        return ran.stdout + ran.stderr

    def call(self, path: str, env: Mapping[str, str], check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a script as Ganeti does: with `env` and nothing else, no arguments, and umask 0077."""
        settings = (f"{name}={value}" for name, value in env.items())
        return self.machine.run(
            "sh", "-c", 'umask 0077; exec "$@"', "sh", "env", "-i", *settings, path, check=check
        )

    def links(self) -> dict[str, str]:
        """Every link to one of our launchers, and which."""
        found = self.machine.out(
            "find", "/etc", "-lname", "/usr/lib/snf-network/*", "-printf", "%p %l\\n"
        ).splitlines()
        return {
            path: target.removeprefix("/usr/lib/snf-network/")
            for path, target in (line.split() for line in found)
        }

    def changes(self) -> set[str]:
        """All that is not as on the real machine in /etc, /usr and /var: its kind and its path. Not what any
        package touches.

        Read from the overlays, so that what others do to the real machine meanwhile does not count. A
        directory is listed there, too, if only something in it has changed; then the real machine has it as
        well.
        """
        found = self.machine.out(
            "find", "/mnt/etc", "/mnt/usr", "/mnt/var", "-mindepth", 1, "-printf", "%y %p\\n"
        ).splitlines()
        entries = ((kind, path.removeprefix("/mnt")) for kind, path in (line.split(" ", 1) for line in found))
        return {
            f"{kind} {path}"
            for kind, path in entries
            if not path.startswith(NOT_OURS) and not (kind == "d" and Path(path).is_dir())
        }


NOT_OURS = ("/var/lib/dpkg/", "/var/log/dpkg.log", "/var/cache/", "/var/lib/nfdhcpd")
