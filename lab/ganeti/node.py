"""A machine with a whole file system and process table of its own: one that daemons run on, and that can be
killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lab import Machine

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What systemd gives a unit that sets no PATH; Ganeti's daemons inherit it."""
NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--ipc")
START = """
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/net dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for device in null zero full random urandom tty net/tun; do
  : > dev/$device
  mount --bind /dev/$device dev/$device
done
mkdir -p mnt/old run/lock run/sshd
hostname "$2"
pivot_root . mnt/old
umount -l /mnt/old
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
ip link set lo up
echo ready
trap '' CHLD  # a process that ends is gone at once, whoever left it behind
exec cat  # it ends with the process that made it, whatever ends that
"""


class Node(Machine):
    """Network, mount, process, host name and IPC namespaces, and a tree under an overlay in memory. All goes
    when process 1 ends.
    """

    def __init__(self, name: str, tree: Path, hostname: str) -> None:
        self.name = name
        self.holder = subprocess.Popen(
            ("unshare", *NAMESPACES, "--fork", "--kill-child", "bash", "-ec", START, "bash", tree, hostname),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout and self.holder.stderr
        assert self.holder.stdout.readline() == "ready\n", (
            f"{name} did not start: {self.holder.stderr.read()}"
        )
        self.first = int(Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text())

    def close(self) -> None:
        """Kill it as a power failure would: every process ends now, and its network is gone."""
        if self.holder.poll() is None:
            os.kill(self.first, signal.SIGKILL)
            self.holder.communicate(timeout=30)

    def command(self, *argv: object) -> list[str]:
        """`argv`, to be run in this node with the environment of a unit of systemd's."""
        return [
            "nsenter",
            f"--target={self.first}",
            "--all",
            "--root",
            "--wd=/",
            "env",
            "-i",
            f"PATH={PATH}",
            "HOME=/root",
            *map(str, argv),
        ]

    def path(self, path: str) -> Path:
        """A file of this node, for this process."""
        return Path(f"/proc/{self.first}/root{path}")

    def run(
        self,
        *argv: object,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        input: str = "",
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """As Machine's; what Ganeti does takes longer, and a command that asks would get no answer."""
        words = [f"{key}={value}" for key, value in (env or {}).items()]
        return super().run(
            *(("env", *words) if words else ()), *argv, check=check, input=input, timeout=timeout
        )
