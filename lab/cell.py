"""A cell: PID and mount namespaces for a program, which end with every process in them when the program ends,
whatever ends it.

A supervisor stays outside. It ends the cell when it is told to, waits, and then looks for anything that was
left on the machine.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
REPORT = "DEMO_REPORT"
"""Names the file descriptor on which the cell tells the supervisor what to look for."""
PATIENCE = 30
"""Seconds for killed processes to end: one that waits for the kernel's network lock must get it first."""
PR_SET_PDEATHSIG = 1
NAMES = frozenset(("node1", "node2", "br0", "prv0", "tap0", "tap1", "tap2", "tap3", "tap4"))
NAMES |= frozenset(("node3", "outside", "us", "ov100", "ov200", "vx100", "vx200"))
UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
_libc = ctypes.CDLL(None)


class Supervisor:
    """Starts this program again inside a cell, waits for it, and finds what it left behind."""

    def __init__(self) -> None:
        self.began, self.before, self.stopped = time.time(), machine_wide(), 0
        reader, writer = os.pipe()
        self.reports = os.fdopen(reader)
        argv = (*UNSHARE, sys.executable, "-BEs", *sys.argv, "--inside")
        self.cell = subprocess.Popen(
            argv, pass_fds=(writer,), env={**os.environ, REPORT: str(writer)}, preexec_fn=_die_with_parent
        )
        os.close(writer)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = number
        self.cell.kill()  # the kernel then kills what it forked, which is PID 1 in there, and so everything

    def wait(self) -> dict[str, list[str]]:
        """Wait for the program; what it has reported, as far as it came. `status` is then its exit status, or
        128 and the signal.
        """
        self.namespace = self._namespace()
        told: dict[str, list[str]] = {"written": [], "claims": []}
        for line in self.reports:
            kind, values = json.loads(line)
            told[kind] += values
        status = self.cell.wait()
        self.status = 128 + self.stopped if self.stopped else status
        return told

    def _namespace(self) -> str:
        """The cell's PID namespace, as soon as it is told. It is kept open here, else the kernel might use
        its number again.
        """
        first = self.reports.readline()
        try:
            os.open(f"/proc/{self.cell.pid}/ns/pid_for_children", os.O_RDONLY)
        except OSError:
            pass  # it has ended already
        return json.loads(first)[1][0] if first else ""

    def left(self, written: list[str]) -> list[str]:
        """What is still there, in words, after the kernel had time to kill what it has to."""
        end = time.monotonic() + PATIENCE
        while (still := list(processes(self.namespace))) and time.monotonic() < end:
            time.sleep(0.02)
        return [
            *still,
            *(f"file {path}" for path in written if _changed(path, self.began)),
            *(machine_wide() - self.before),
        ]


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _changed(path: str, since: float) -> bool:
    try:
        return os.lstat(path).st_ctime >= since
    except OSError:
        return False


def processes(namespace: str) -> Iterator[str]:
    """Processes of the cell. Its other namespaces are of these processes only, and end with them."""
    for path in glob.glob("/proc/[0-9]*/ns/pid"):
        try:
            if os.readlink(path) == namespace:
                yield f"process {path.split('/')[2]}"
        except OSError:
            continue


def machine_wide() -> set[str]:
    """What the demo's things would be called, had any of them come out of its namespaces."""
    covered = {str(ROOT), "/mnt", "/etc", "/var", "/sys"}
    mounts = (
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if line.split()[4] in covered
    )
    tables = subprocess.run(("nft", "list", "tables"), capture_output=True, text=True).stdout.splitlines()
    links = NAMES.intersection(os.listdir("/sys/class/net"))
    return {
        *(f"mount {line}" for line in mounts),
        *(line for line in tables if "snf_network" in line),
        *(f"link {name}" for name in links),
    }


def report(kind: str, values: Sequence[str]) -> None:
    """From the cell to the supervisor."""
    os.write(int(os.environ[REPORT]), (json.dumps((kind, list(values))) + "\n").encode())


def cover_checkout() -> None:
    """Lay an overlay over the checkout, so that not even a .pyc is written to it. Nobody outside the cell
    sees it.
    """
    overlay = f"lowerdir={ROOT},upperdir=/mnt/upper,workdir=/mnt/work"
    for command in (
        ("mount", "-t", "tmpfs", "tmpfs", "/mnt"),
        ("mkdir", "/mnt/upper", "/mnt/work"),
        ("mount", "-t", "overlay", "-o", overlay, "overlay", str(ROOT)),
    ):
        subprocess.run(command, check=True)


def checkout_writes() -> list[str]:
    """What was written to the checkout, had the overlay not been there."""
    return [
        str(ROOT / path.relative_to("/mnt/upper"))
        for path in Path("/mnt/upper").rglob("*")
        if not path.is_dir()
    ]


def hindrance() -> str:
    """Why the demo cannot run here, or ""."""
    if str(ROOT).startswith("/mnt/"):
        return f"{ROOT}: its machines cover /mnt; copy the checkout elsewhere"
    enter = ("nsenter", f"--target={os.getpid()}", "--mount", "stat", "-c", "%d:%i", "/")
    entered = subprocess.run(enter, capture_output=True, text=True)
    if entered.returncode:
        needs = "it must be allowed to make namespaces and to enter them (a container needs --privileged)"
        return f"{entered.stderr.strip()}: {needs}"
    here = Path("/").stat()
    if entered.stdout.strip() != f"{here.st_dev}:{here.st_ino}":
        return (
            "this is a chroot, and nsenter would leave it; use pivot_root, systemd-nspawn or a booted system"
        )
    return ""
