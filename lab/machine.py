"""A machine made of namespaces, as the self-test's, with all that tests, benches and the demo do in one.

Nothing of the real machine is changed, so the scripts run in them exactly as shipped, with their real paths.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from snf_network.selftest import world

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
ENVIRONMENTS = ROOT / "tests" / "environments"
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000
TUNSETOFFLOAD = 0x400454D0
_libc = ctypes.CDLL(None, use_errno=True)


class Machine(world.Machine):
    """One host, router or guest. Processes in it are started with `run`; sockets in it are made with
    `packet_socket`.
    """

    setup = """
rm -rf /var/lib/snf-network /var/lib/nfdhcpd /etc/snf-network /etc/default/snf-network /etc/ganeti
mkdir -p /var/log/ganeti /etc/iproute2/rt_tables.d
[ ! -e /proc/sys/net/ipv6 ] || echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
"""

    def public(self) -> str:
        """The directory of a copy of our scripts that every user of the machine may read. A checkout may be
        in /root, and its files for root alone.
        """
        made = "/mnt/public"
        copy = 'mkdir -p "$2"; cp -r "$1/scripts" "$1/snf_network" "$2"; chmod -R a+rX "$2"'
        self.run("sh", "-ec", copy, "sh", ROOT, made)
        return f"{made}/scripts"

    def up(self, env: Mapping[str, str], check: bool = True) -> subprocess.CompletedProcess[str]:
        """kvm-ifup-custom."""
        return self.script("kvm-ifup-custom", env, check=check)

    def down(self, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """kvm-ifdown-custom, which never fails."""
        return self.script("kvm-ifdown-custom", env)

    def ping(self, address: str, count: int = 1, wait: float = 2, source: str = "") -> bool:
        """True if `address` answers at least once."""
        bind = ("-I", source) if source else ()
        return (
            self.run(
                "ping", "-n", "-c", count, "-W", wait, "-i", 0.2, *bind, address, check=False, timeout=60
            ).returncode
            == 0
        )

    def packet_socket(self, device: str, timeout: float = 1.0) -> socket.socket:
        """A raw socket that sends and receives whole frames on one device of this machine."""
        made = super().packet_socket(device)
        made.settimeout(timeout)
        return made

    def tap(self, name: str, offloads: int | None = None) -> int:
        """A real tap, as QEMU opens it: the file descriptor writes what the guest sends, and reads what it
        gets. Closing ends it. With `offloads` (TUN_F_* that the guest takes, linux/if_tun.h), a struct
        virtio_net_hdr precedes each frame.
        """
        flags = IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if offloads is not None else 0)
        with self.inside():
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
            if offloads is not None:
                fcntl.ioctl(descriptor, TUNSETOFFLOAD, offloads)
        return descriptor

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This process is in the machine: its network and its files."""
        home, here = _handles("self"), str(Path.cwd())
        _enter(_handles(self.holder.pid))
        os.chdir("/")
        try:
            yield
        finally:
            _enter(home)
            os.chdir(here)


def _handles(process: object) -> list[int]:
    return [os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")]


def _enter(handles: Sequence[int]) -> None:
    for handle in handles:
        if _libc.setns(handle, 0):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(handle)


def environment(name: str, **changes: str | None) -> dict[str, str]:
    """The recorded environment tests/environments/<name>.env, with some variables changed or (None) taken
    out.
    """
    lines = (ENVIRONMENTS / f"{name}.env").read_text().splitlines()
    values: dict[str, str | None] = {**dict(line.split("=", 1) for line in lines), **changes}
    return {key: value for key, value in values.items() if value is not None}
