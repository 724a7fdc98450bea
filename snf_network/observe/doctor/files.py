"""The directories and files that are written while a NIC comes up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from snf_network.model.resources import Binding
from snf_network.observe.doctor.finding import CRITICAL, WARNING, Finding
from snf_network.observe.doctor.look import Look

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOM, LEAST = 1 << 24, 1 << 20
"""Octets that must be free on a disk: for records of some thousand NICs, and of some hundred."""
FILES = 1000
"""How many files it must have room for."""
READABLE = 0o005
"""What nfdhcpd, which is not root, needs of the directory of its bindings."""


def state(look: Look) -> Iterator[Finding]:
    """STATE_DIR: a NIC without a record is not brought up."""
    yield from _directory("STATE_DIR", look.config.state_dir, "no NIC can come up")


def bindings(look: Look) -> Iterator[Finding]:
    """NFDHCPD_STATE_DIR: nfdhcpd answers nobody without a file."""
    path, none = look.config.nfdhcpd_state_dir, "nfdhcpd answers no new guest"
    served = any(isinstance(one, Binding) for record in look.live for one in record.resources)
    if look.config.nfdhcpd_engine == "none":
        return
    if not os.path.lexists(path) and (served or os.path.exists("/etc/nfdhcpd")):
        yield Finding(WARNING, "bindings", f"NFDHCPD_STATE_DIR {path} is missing: {none}", f"mkdir -p {path}")
    yield from _directory("NFDHCPD_STATE_DIR", path, none)
    if os.path.isdir(path) and os.stat(path).st_mode & READABLE != READABLE:
        what = f"NFDHCPD_STATE_DIR {path} is for root alone, and nfdhcpd is not root: it answers nobody"
        yield Finding(CRITICAL, "bindings", what, f"chmod 755 {path}")


def _directory(key: str, path: str, loss: str) -> Iterator[Finding]:
    """What keeps a file from being made there; a missing directory is made when it is needed."""
    check = "state-dir" if key == "STATE_DIR" else "bindings"
    if not os.path.lexists(path):
        return
    if not os.path.isdir(path):
        yield Finding(CRITICAL, check, f"{key} {path} is no directory: {loss}", f"rm {path}; mkdir -p {path}")
        return
    if not os.access(path, os.W_OK | os.X_OK):
        mend = f"mount -o remount,rw $(findmnt -nT {path} -o TARGET)"
        yield Finding(CRITICAL, check, f"{key} {path} cannot be written: {loss}", mend)
        return
    disk = os.statvfs(path)
    free, files = disk.f_bfree * disk.f_frsize, disk.f_ffree if disk.f_files else FILES
    if free < ROOM or files < FILES:
        severity = CRITICAL if free < LEAST or files < FILES // 100 else WARNING
        left = f"{free >> 10} KiB and {files} files are free"
        yield Finding(
            severity,
            check,
            f"{key} {path} is on a disk that is full, {left}: {loss}",
            f"df -h {path}; df -i {path}",
        )


def unwritable(path: str) -> str:
    """Why LOGFILE cannot be written; empty if it can. It is opened as the scripts do, but not made."""
    folder = os.path.dirname(path)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    except FileNotFoundError:
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"no file can be made in {folder}" if os.path.isdir(folder) else f"there is no {folder}"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def log(look: Look) -> Iterator[Finding]:
    """LOGFILE, if there is to be one."""
    path = look.config.logfile
    why = unwritable(path) if path else ""
    if why:
        folder = os.path.dirname(path)
        what = f"LOGFILE {path} cannot be written, and scripts do not say so: {why}"
        mend = (
            f"mkdir -p {folder}"
            if not os.path.exists(folder)
            else f"ls -ld {folder} {path}; mv {path} {path}.old"
        )
        yield Finding(WARNING, "log", what, mend)
