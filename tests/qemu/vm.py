"""A QEMU machine with Debian's own kernel, for tests that this machine's kernel cannot do. It uses software
emulation, so it runs anywhere.

It sees the files of this machine, read-only, under a file system in memory. So everything that runs here runs
there, and no change is kept. Further packages are downloaded and unpacked in .qemu/ of the checkout, and
never installed. The machine has no network.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from lab import ROOT
from lab.kernel import DIRECTORY, FILE, PROGRAM, Kernel, archive

UNPACKED = ROOT / ".qemu"
PACKAGES = ("linux-image-amd64", "busybox-static", "openvswitch-switch")
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""What the kernel needs to find its files."""
USELESS = (
    "boot/System.map-*",
    "lib/modules/*/kernel/sound",
    "usr/share/doc",
    *(
        f"lib/modules/*/kernel/drivers/{name}"
        for name in (
            "gpu",
            "media",
            "infiniband",
            "scsi",
            "staging",
            "usb",
            "iio",
            "net/ethernet",
            "net/wireless",
            "hwmon",
            "input",
            "platform",
            "mtd",
            "isdn",
            "md",
        )
    ),
)
QUICK = ("mitigations=off", "init_on_alloc=0", "apparmor=0", "audit=0")
"""What makes the emulated kernel twice as quick, and is nothing to a packet."""
HERE = Path(__file__).parent
SILENCE = 900
"""Seconds without a line after which a machine is given up: five at once may have less than half a CPU."""
NOTHING: Mapping[str, bytes] = {}


def unpacked() -> Path:
    """The directory with the packages, downloaded and unpacked at the first call."""
    stamp = " ".join((*PACKAGES, "vmlinux"))
    if not (UNPACKED / "stamp").exists() or (UNPACKED / "stamp").read_text() != stamp:
        shutil.rmtree(UNPACKED, ignore_errors=True)
        (UNPACKED / "debs" / "partial").mkdir(parents=True)
        for name in ("bin", "lib", "sbin"):
            (UNPACKED / "root" / "usr" / name).mkdir(parents=True)
            (UNPACKED / "root" / name).symlink_to(f"usr/{name}")
        _download()
        for deb in sorted((UNPACKED / "debs").glob("*.deb")):
            _run(
                f"dpkg-deb --fsys-tarfile {shlex.quote(str(deb))} | tar -x --keep-directory-symlink -C {UNPACKED / 'root'} "
                + " ".join(f"--exclude='./{name}'" for name in USELESS)
            )
        shutil.rmtree(UNPACKED / "debs")
        kernel = Kernel(UNPACKED / "root")
        _run(f"depmod -b {UNPACKED / 'root'} {kernel.release}")
        (UNPACKED / "root" / "vmlinux").write_bytes(kernel.executable())
        (UNPACKED / "stamp").write_text(stamp)
    return UNPACKED / "root"


def _download() -> None:
    """With all that they need and this machine has not; what it has already is fetched, too: it need not be
    the whole of it.
    """
    get = (
        f"apt-get -qq -y -o Dir::Cache::archives={UNPACKED / 'debs'} -o Debug::NoLocking=1 --no-install-recommends --reinstall "
        f"--download-only install {' '.join(PACKAGES)}"
    )
    _run(f"{get} || {{ apt-get -qq -o DPkg::Lock::Timeout=300 update && {get}; }}")


def _run(command: str) -> None:
    ran = subprocess.run(
        ("bash", "-o", "pipefail", "-c", command), capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, f"{command}: {ran.returncode}\n{ran.stdout}{ran.stderr}"


def _initramfs(kernel: Kernel, given: Mapping[str, bytes]) -> bytes:
    directories = ("bin", "proc", "dev", "machine", "packages", "memory", "root", "modules", "given")
    return archive(
        {name: (DIRECTORY, b"") for name in directories}
        | {
            "bin/busybox": (PROGRAM, (kernel.root / "bin" / "busybox").read_bytes()),
            "init": (PROGRAM, (HERE / "init").read_bytes()),
        }
        | {f"given/{name}": (FILE, data) for name, data in given.items()}
        | {f"modules/{name}": (FILE, data) for name, data in kernel.modules(MODULES).items()}
    )


class Vm:
    """A machine that runs one job: a script for sh, as root, in a machine with this one's files. Close it, or
    use `with`.
    """

    def __init__(
        self,
        job: str,
        *append: str,
        systemd: bool = False,
        files: Mapping[str, bytes] = NOTHING,
        memory: int = 1024,
        silence: float = SILENCE,
    ) -> None:
        """`append` is added to the kernel's command line; `files` are in /run by their names.

        `systemd`: the job is a unit of it, and of this machine's other units only those are started that are
        asked for.
        """
        packages = unpacked()
        kernel = Kernel(packages)
        self.silence, self.status = silence, -1
        self.directory = Path(tempfile.mkdtemp(prefix="snf-network-qemu."))
        (self.directory / "initramfs").write_bytes(_initramfs(kernel, {**files, "job": job.encode()}))
        append = (*append, "systemd.unit=job.target") if systemd else append
        words = ("console=ttyS0", "panic=-1", "quiet", "net.ifnames=0", *QUICK, f"checkout={ROOT}", *append)
        self.process = subprocess.Popen(
            (
                "qemu-system-x86_64",
                "-accel",
                "tcg",
                "-icount",
                "shift=0",  # its time goes by instructions: a busy machine makes no call of ours late
                "-cpu",
                "max",
                "-smp",
                "1",
                "-m",
                str(memory),
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
                "-nic",
                "none",
                "-kernel",
                packages / "vmlinux",
                "-initrd",
                self.directory / "initramfs",
                "-append",
                " ".join(words),
                *(
                    word
                    for tag, path in (("machine", "/"), ("packages", packages))
                    for word in (
                        "-virtfs",
                        f"local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap",
                    )
                ),
                "-serial",
                f"file:{self.directory}/console",
                "-chardev",
                "stdio,id=told,signal=off",
                "-serial",
                "chardev:told",
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._rest = b""

    def lines(self) -> Iterator[str]:
        """What the job writes to its descriptor 3, line by line, until it ends: then `status` is its exit
        status.

        `status` stays -1 if the machine ends otherwise, or says nothing for `silence` seconds.
        """
        while (line := self._line()) is not None:
            if line.startswith("@exit "):
                self.status = int(line.removeprefix("@exit "))
                return
            yield line

    def _line(self) -> str | None:
        assert self.process.stdout
        end = time.monotonic() + self.silence
        while b"\n" not in self._rest:
            if not select.select([self.process.stdout], [], [], max(end - time.monotonic(), 0))[0]:
                return None
            read = os.read(self.process.stdout.fileno(), 65536)
            if not read:
                return None
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")

    def console(self) -> str:
        """What the kernel and the job have printed."""
        try:
            return (
                (self.directory / "console").read_text(encoding="utf-8", errors="replace").replace("\r", "")
            )
        except OSError:
            return ""

    def close(self) -> None:
        """End it, if it runs, and remove its files."""
        self.process.kill()
        self.process.wait(10)
        if self.process.stdout:
            self.process.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Vm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
