"""A machine with Xen, emulated by QEMU: its dom0, which is a node; the namespaces around it, which are its
neighbours; and its guests.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lab
from lab import Machine
from tests.xen.boot import Boot

BOOT_SECONDS = 300  # a busy machine may leave it a tenth of a CPU
MEMORY, DOM0_MEMORY, GUEST_MEMORY = 3072, 1024, 160
"""MiB."""


class Dom0(Machine):
    """It is used like a machine made of namespaces; sockets and taps there are none."""

    def __init__(self, boot: Boot, directory: Path) -> None:
        self.name = "dom0"
        self.console = directory / "console"
        address = directory / "agent"
        qemu = (
            "qemu-system-x86_64",
            "-m",
            str(MEMORY),
            "-smp",
            "1",
            "-cpu",
            "qemu64,+pae",
            "-icount",
            "shift=0",  # its time goes by instructions: a busy machine makes no call of ours late
            "-display",
            "none",
            "-serial",
            "stdio",
            "-monitor",
            "none",
            "-no-reboot",
            "-nic",
            "none",
            "-kernel",
            str(boot.hypervisor),
            "-append",
            f"console=com1 com1=115200 loglvl=error dom0_mem={DOM0_MEMORY}M",
            "-initrd",
            f"{boot.vmlinux} console=hvc0 quiet,{boot.initrd}",
            *shared("host", Path("/")),
            *shared("packages", boot.packages),
            *shared("tests", boot.files),
            "-device",
            "virtio-serial-pci",
            "-chardev",
            f"socket,id=agent,path={address},server=on,wait=off",
            "-device",
            "virtserialport,chardev=agent",
        )
        with self.console.open("wb") as console:
            # it ends with us, however we end
            self.qemu = subprocess.Popen(
                ("setpriv", "--pdeathsig=KILL", *qemu),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        try:
            self.port = self._connect(address)
            self.port.settimeout(BOOT_SECONDS)
            self.answers = self.port.makefile("rb")
            assert self.answers.readline() == b"ready\n", "dom0 ended before it was ready"
        except BaseException:
            self.close()
            raise

    def _connect(self, address: Path) -> socket.socket:
        end = time.monotonic() + 10
        port = socket.socket(socket.AF_UNIX)
        while True:
            try:
                port.connect(str(address))
                return port
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < end and self.qemu.poll() is None, "QEMU did not start"
                time.sleep(0.05)

    def close(self) -> None:
        """Pull the plug: nothing of it is on a disk."""
        self.qemu.kill()
        self.qemu.wait(10)
        if hasattr(self, "port"):
            self.port.close()

    def run(
        self,
        *argv: object,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        input: str = "",
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; with `check`, a failure is an AssertionError that shows what it said."""
        words = [str(word) for word in argv]
        said = self._ask(
            {"argv": words, "env": dict(env) if env else None, "input": input, "timeout": timeout},
            4 * timeout + 60,
        )
        ran = subprocess.CompletedProcess(words, said["status"], said["stdout"], said["stderr"])
        assert not check or ran.returncode == 0, (
            f"{self.name}: {' '.join(words)}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
        )
        return ran

    def _ask(self, request: Mapping[str, object], seconds: float) -> dict[str, Any]:
        assert self.qemu.poll() is None, "dom0 has ended"
        self.port.settimeout(seconds)
        try:
            self.port.sendall(f"{json.dumps(request)}\n".encode())
            line = self.answers.readline()
        except TimeoutError:
            self.close()  # an answer that comes late would be taken for the next one's
        assert self.qemu.poll() is None and line, "dom0 does not answer any more"
        return json.loads(line)  # type: ignore[no-any-return]

    def neighbour(self, name: str, device: str) -> Neighbour:
        """A namespace whose eth0 is joined to a new `device` of dom0."""
        self.ip(
            f"netns add {name}",
            f"link add {device} type veth peer name eth0 netns {name}",
            f"link set {device} up",
        )
        return Neighbour(self, name)


class Neighbour(Machine):
    """A host beside dom0, which notes who is heard on its eth0."""

    def __init__(self, dom0: Dom0, name: str) -> None:
        self.dom0, self.name = dom0, name
        self.ip("link set lo up", "link set eth0 up")
        self.run("nft", "-f", "-", input=WITNESS)

    def run(self, *argv: object, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        return self.dom0.run("ip", "netns", "exec", self.name, *argv, **settings)

    def heard(self) -> set[str]:
        """The source MAC of every frame so far, and the source IP of every ping: what the node announces for
        a guest is no ping.
        """
        tables = json.loads(self.out("nft", "-j", "list", "table", "netdev", "witness"))["nftables"]
        return {element for entry in tables for element in entry.get("set", {}).get("elem", ())}


WITNESS = """
table netdev witness {
	set macs { type ether_addr; flags dynamic; size 65535; }
	set ips { type ipv4_addr; flags dynamic; size 65535; }
	set ip6s { type ipv6_addr; flags dynamic; size 65535; }
	chain look {
		type filter hook ingress device "eth0" priority 0; policy accept
		add @macs { ether saddr }
		icmp type echo-request add @ips { ip saddr }
		icmpv6 type echo-request add @ip6s { ip6 saddr }
	}
}
"""


class Guest:
    """A domain as Ganeti starts it: `env` is what it would say of the only NIC. It pings its peers for as
    long as it runs.
    """

    def __init__(
        self,
        dom0: Dom0,
        env: Mapping[str, str],
        *addresses: str,
        gateways: tuple[str, ...] = (),
        peers: tuple[str, ...] = (),
        mac: str = "",
    ) -> None:
        self.dom0, self.name = dom0, env["INSTANCE"]
        self.config, self.log = f"/etc/xen/{self.name}", f"/var/log/xen/console/guest-{self.name}.log"
        write_nic_file(dom0, env)
        told = f"ADDRESSES={','.join(addresses)} GATEWAYS={','.join(gateways)} PEERS={','.join(peers)}"
        dom0.write(
            self.config,
            CONFIG.format(
                name=self.name, memory=GUEST_MEMORY, told=told, vif=vif({**env, "MAC": mac or env["MAC"]})
            ),
        )

    def create(self, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Start it, as Ganeti does."""
        return self.dom0.run("xl", "create", self.config, check=check)

    @property
    def interface(self) -> str:
        """The vif of its first NIC."""
        return f"vif{self.dom0.out('xl', 'domid', self.name).strip()}.0"

    def tried(self, peer: str, times: int = 1) -> list[str]:
        """How its pings of a peer went so far, at least so many: "answers" or "is silent"."""
        wait = 'tail -n +1 -F "$1" 2> /dev/null | grep -m "$2" -q "guest: $3 "'
        self.dom0.run("timeout", 60, "sh", "-c", wait, "sh", self.log, times, peer)
        lines = self.dom0.read(self.log).replace("\r", "").splitlines()
        return [line.partition(f"{peer} ")[2] for line in lines if line.startswith(f"guest: {peer} ")]

    def hears(self, peer: str) -> bool:
        """True if the peer has answered by the third ping: the first may come before a bridge forwards."""
        return "answers" in self.tried(peer) or "answers" in self.tried(peer, 3)


CONFIG = """name = "{name}"
kernel = "/mnt/vmlinux"
ramdisk = "/mnt/guest.img"
memory = {memory}
vcpus = 1
extra = "console=hvc0 quiet sysrq_always_enabled rdinit=/init {told}"
on_crash = "destroy"
vif = ['{vif}']
"""
"""As the Xen hypervisor of Ganeti 3.0 writes it, without disks (hv_xen.py)."""


def vif(env: Mapping[str, str]) -> str:
    """How Ganeti tells Xen of a NIC (_WriteNicConfig, hv_xen.py of 3.0)."""
    settings = {
        "mac": env["MAC"],
        "ip": env.get("IP"),
        "bridge": env["LINK"] if env["MODE"] == "bridged" else None,
        "script": "vif-ganeti",
    }
    return ", ".join(f"{key}={value}" for key, value in settings.items() if value)


def write_nic_file(dom0: Machine, env: Mapping[str, str]) -> None:
    """What Ganeti leaves for vif-custom (_WriteNICInfoFile, hv_xen.py of 3.0)."""
    tags = "\\ ".join(env.get("TAGS", "").split())
    network = "".join(f'{key}="{value}"\n' for key, value in env.items() if key.startswith("NETWORK_"))
    rest = "".join(f"{key}={env[key]}\n" for key in NIC_KEYS if key in env)
    dom0.write(
        f"/var/run/ganeti/xen-hypervisor/nic/{env['INSTANCE']}/{env['INTERFACE_INDEX']}",
        f'TAGS="{tags}"\n{network}{rest}',
    )


NIC_KEYS = ("MAC", "IP", "INTERFACE_INDEX", "INTERFACE_NAME", "INTERFACE_UUID", "MODE", "LINK", "VLAN")


def shared(tag: str, directory: Path) -> tuple[str, str]:
    """A directory that dom0 may read, by 9p."""
    return (
        "-virtfs",
        f"local,path={directory},mount_tag={tag},security_model=none,readonly=on,multidevs=remap",
    )


def until(true: Any, seconds: float, what: object) -> None:
    """Wait until `true`, or fail."""
    assert lab.until(true, seconds), f"not within {seconds} s: {what}"
