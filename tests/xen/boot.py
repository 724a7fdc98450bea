"""What a machine with Xen boots from: Debian's Xen packages, unpacked and never installed, and two initial
file systems.

The packages (80 MB) are kept in CACHE, which may be removed at any time. They are those of the machine's own
Debian release, so they match the libraries that are on the machine.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.kernel import DIRECTORY, FILE, PROGRAM, Kernel, archive

HERE = Path(__file__).resolve().parent / "boot"
CACHE = Path("/var/cache/snf-network-tests/xen")
META = ("linux-image-amd64", "xen-system-amd64")
WANTED = (*META, "busybox-static", "xen-utils-common", "xenstore-utils")
DOM0_MODULES = ("9p", "9pnet_virtio", "virtio_pci", "virtio_console", "overlay")
GUEST_MODULES = ("xen-netfront",)
MERGED = ("bin", "lib", "lib64", "sbin")
"""Directories that are links into /usr on a machine, and that packages of Debian 12 still have files in."""


class Boot:
    """All of it, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.packages, self.files = directory / "packages", directory / "tests"
        self.hypervisor, self.initrd = directory / "xen", directory / "dom0.img"
        with locked(CACHE):
            unpack(fetch(CACHE), self.packages)
        self.kernel = Kernel(self.packages)
        run("depmod", "-b", self.packages, self.kernel.release)
        compressed = next((self.packages / "boot").glob("xen-*.gz")).read_bytes()
        self.hypervisor.write_bytes(zlib.decompress(compressed, 31))  # 31: gzip
        self.files.mkdir()
        self.vmlinux = self.files / "vmlinux"
        self.vmlinux.write_bytes(self.kernel.executable())
        for name in ("start-dom0", "agent.py"):
            shutil.copy(HERE / name, self.files)
        self.image("init-dom0", DOM0_MODULES, self.initrd)
        self.image("init-guest", GUEST_MODULES, self.files / "guest.img")

    def image(self, init: str, modules: Iterable[str], path: Path) -> None:
        """An initial file system with busybox, a first program, and kernel modules."""
        programs = {"bin/busybox": self.packages / "bin/busybox", "init": HERE / init}
        path.write_bytes(
            archive(
                {"bin": (DIRECTORY, b"")}
                | {name: (PROGRAM, program.read_bytes()) for name, program in programs.items()}
                | {name: (FILE, content) for name, content in self.kernel.modules(modules).items()}
            )
        )


def fetch(cache: Path) -> list[Path]:
    """The packages that the machine has not, and those of WANTED in any case; downloaded if the cache has
    them not.
    """
    archives, lists = cache / "archives", cache / "lists"
    for directory in (archives, lists):
        directory.mkdir(exist_ok=True)
    own = ("-qq", "-o", f"Dir::State::Lists={lists}", "-o", "APT::Sandbox::User=root")
    # without network what is in the cache will do
    refreshed = subprocess.run(("apt-get", *own, "update"), capture_output=True, text=True, timeout=120)
    said = run("apt-cache", *own, "-i", "depends", *META)
    wanted = {
        *WANTED,
        *(line.split()[1] for line in said.splitlines() if line.strip().startswith("Depends: ")),
    }
    said = run("apt-get", *own, "-s", "--no-install-recommends", "--reinstall", "install", *sorted(wanted))
    names = [line.split()[1] for line in said.splitlines() if line.startswith("Inst ")]
    said = run("apt-get", *own, "--print-uris", "download", *names)
    files = [archives / line.split()[1] for line in said.splitlines() if line.startswith("'")]
    for old in set(archives.iterdir()) - set(files):
        old.unlink()
    run("apt-get", *own, "download", *names, cwd=archives, hint=refreshed.stderr)
    return files


def unpack(packages: Iterable[Path], root: Path) -> None:
    """The files of packages, laid out as on a machine, in a directory."""
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        with subprocess.Popen(("dpkg-deb", "--fsys-tarfile", package), stdout=subprocess.PIPE) as archive:
            subprocess.run(
                ("tar", "-x", "--keep-directory-symlink", "-C", root),
                stdin=archive.stdout,
                check=True,
                timeout=120,
            )
        assert archive.returncode == 0, package


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One at a time may change a directory, which is made if it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*argv: object, cwd: Path | None = None, hint: str = "") -> str:
    """What a command of the machine prints; if it fails, an AssertionError with what it said."""
    ran = subprocess.run(tuple(map(str, argv)), cwd=cwd, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, (
        f"{' '.join(map(str, argv))}: {ran.returncode}\n{ran.stdout}{ran.stderr}{hint}"
    )
    return ran.stdout
