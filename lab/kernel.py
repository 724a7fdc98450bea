"""Debian's kernel for an emulated machine: out of its package, with an initial file system made for it."""

from __future__ import annotations

import lzma
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from struct import unpack_from


class Kernel:
    """The kernel of a package that is unpacked in `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        places = (root / "usr/lib/modules", root / "lib/modules")
        self.release = next(entry.name for place in places if place.exists() for entry in place.iterdir())
        self.compressed = root / f"boot/vmlinuz-{self.release}"

    def executable(self) -> bytes:
        """The ELF file in the bzImage (Documentation/arch/x86/boot.rst, 1.3): to decompress it would take an
        emulated machine seconds. Debian 12 compresses it by xz and, in its cloud kernel, by LZ4; Debian 13
        by zstd.
        """
        image = self.compressed.read_bytes()
        offset, length = unpack_from("<II", image, 0x248)
        start = (image[0x1F1] + 1) * 512 + offset
        payload = image[start : start + length - 4]  # behind it stands the length of what is in it
        known = [tool for magic, tool in DECOMPRESSORS.items() if payload.startswith(magic)]
        assert known, f"{self.compressed}: nobody knows how to decompress {payload[:4].hex()}"
        ran = subprocess.run((known[0], "-dcq"), input=payload, capture_output=True, check=True, timeout=60)
        return ran.stdout

    def modules(self, names: Iterable[str]) -> dict[str, bytes]:
        """Name and content of modules and all that they need; the names are in the order to load them in.
        What is built into the kernel has none.
        """
        found: dict[Path, None] = {}
        for name in names:
            words = ("modprobe", "-d", self.root, "-S", self.release, "--show-depends", name)
            said = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
            assert said.returncode == 0, f"modprobe {name}: {said.stderr}"
            loads = (line.split() for line in said.stdout.splitlines())
            found |= {Path(path): None for verb, path, *_ in loads if verb == "insmod"}
        return {
            f"{number:02}-{path.name.removesuffix('.xz')}": _content(path)
            for number, path in enumerate(found, 10)
        }


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


DECOMPRESSORS = {b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4"}
"""The tool for each form, by how the form begins."""
DIRECTORY, PROGRAM, FILE = 0o040755, 0o100755, 0o100644


def archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """An initial file system in the form the kernel takes
    (Documentation/driver-api/early-userspace/buffer-format.rst). `files` has mode and content by path.
    """
    made = bytearray()
    for number, (name, (mode, content)) in enumerate((*files.items(), ("TRAILER!!!", (0, b"")))):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        made += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        made += bytes(-len(made) % 4) + content
        made += bytes(-len(made) % 4)
    return bytes(made)
