"""nfdhcpd as shipped, in a machine: started until it says that it serves, asked by nfdhcpctl, ended by
pid.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.netns.lab import SCRIPTS, Machine, until

BINDINGS = "/var/lib/nfdhcpd"
CONFIG = "/etc/nfdhcpd/nfdhcpd.conf"


class Daemon:
    """A running nfdhcpd, in the foreground; `before` has commands that run it, and `scripts` is where it
    is.
    """

    def __init__(
        self,
        machine: Machine,
        *arguments: str,
        before: Sequence[object] = (),
        wait: float = 20,
        scripts: object = SCRIPTS,
    ) -> None:
        self.machine = machine
        machine.run("mkdir", "-p", BINDINGS)
        self._directory = tempfile.TemporaryDirectory(
            prefix="nfdhcpd-", dir="/tmp"
        )  # TMPDIR may be for root alone
        (runtime := Path(self._directory.name, "run")).mkdir()
        os.chown(runtime, 65534, 65534)
        self.control = f"{runtime}/control"
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = f"{self._directory.name}/notify"
        self._manager.bind(path)
        os.chmod(self._directory.name, 0o755)
        os.chmod(path, 0o666)
        self._manager.settimeout(wait)
        self.lines: list[str] = []
        command = machine.command(
            "env",
            f"NOTIFY_SOCKET={path}",
            *before,
            f"{scripts}/nfdhcpd",
            "-f",
            "--socket",
            self.control,
            *arguments,
        )
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            self.told("READY=1")
        except TimeoutError:
            self.stop(9)
            raise AssertionError("it did not start:\n" + "\n".join(self.lines)) from None

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def told(self, wanted: str) -> str:
        """What the service manager is told, when it is that."""
        while True:
            text = self._manager.recv(4096).decode()
            if wanted in text.split("\n"):
                return text

    @property
    def pid(self) -> int:
        """nsenter became env, which became the daemon."""
        return self.process.pid

    def ctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """nfdhcpctl."""
        return self.machine.run(SCRIPTS / "nfdhcpctl", "--socket", self.control, *arguments, check=check)

    def show(self, interface: str) -> dict[str, Any]:
        """Everything about one binding."""
        return dict(json.loads(self.ctl("show", interface, "--json").stdout))

    def counts(self, interface: str) -> dict[str, int]:
        """What became of a guest's frames."""
        return dict(self.show(interface)["counts"])

    def stats(self) -> dict[str, Any]:
        """All counters."""
        return dict(json.loads(self.ctl("stats", "--json").stdout))

    def states(self) -> dict[str, str]:
        """Whether each binding is served."""
        return {row["interface"]: row["state"] for row in json.loads(self.ctl("list", "--json").stdout)}

    def has_logged(self, words: str, seconds: float = 3.0) -> bool:
        """True as soon as a line of the log has these words."""
        return until(lambda: any(words in line for line in self.lines), seconds)

    def stop(self, number: int = 15) -> int:
        """End it by a signal; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(10)
        self._reader.join(10)
        assert self.process.stderr
        self.process.stderr.close()
        self._manager.close()
        self._directory.cleanup()
        return status


@contextmanager
def running(machine: Machine, *arguments: str) -> Iterator[Daemon]:
    """A daemon, ended whatever happens; that it met no defect of its own is part of every test."""
    daemon = Daemon(machine, *arguments)
    try:
        yield daemon
        assert not [line for line in daemon.lines if "defect" in line or "Traceback" in line], daemon.lines
    finally:
        daemon.stop()


def binding(**keys: object) -> str:
    """The text of a binding file; keys in lower case."""
    return "".join(f"{key.upper()}={value}\n" for key, value in keys.items())


def bind(machine: Machine, name: str, text: str) -> None:
    """Put a binding file in place as snf-network does, by rename."""
    machine.run(
        "sh",
        "-c",
        'mkdir -p "$1" && cat > "$1/.$2.new" && mv "$1/.$2.new" "$1/$2"',
        "sh",
        BINDINGS,
        name,
        input=text,
    )


def status(pid: int) -> dict[str, str]:
    """/proc/<pid>/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
