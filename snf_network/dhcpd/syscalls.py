"""System calls that Python's standard library does not offer, made through ctypes. The numbers are from
Linux's uapi headers.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_ssize_t, c_uint, c_ulong, c_void_p

_libc = ctypes.CDLL(None, use_errno=True)
AF_PACKET, ETH_P_ALL = 17, 0x0003
PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 8, 24, 38
CAPABILITY_VERSION_3 = 0x20080522


class Iovec(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", c_void_p), ("length", c_size_t)]


class Msghdr(ctypes.Structure):
    """struct msghdr."""

    _fields_ = [
        ("name", c_void_p),
        ("namelen", c_uint),
        ("iov", POINTER(Iovec)),
        ("iovlen", c_size_t),
        ("control", c_void_p),
        ("controllen", c_size_t),
        ("flags", c_int),
    ]


class Mmsghdr(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = [("head", Msghdr), ("length", c_uint)]


class SockaddrLl(ctypes.Structure):
    """struct sockaddr_ll."""

    _fields_ = [
        ("family", ctypes.c_ushort),
        ("protocol", ctypes.c_ushort),
        ("index", c_int),
        ("hatype", ctypes.c_ushort),
        ("pkttype", ctypes.c_ubyte),
        ("halen", ctypes.c_ubyte),
        ("address", ctypes.c_ubyte * 8),
    ]


recvmmsg = _libc.recvmmsg
recvmmsg.argtypes = (c_int, c_void_p, c_uint, c_int, c_void_p)
sendto = _libc.sendto
sendto.argtypes, sendto.restype = (c_int, c_char_p, c_size_t, c_int, c_char_p, c_uint), c_ssize_t


def _checked(result: int, what: str) -> int:
    """The result of a call. Raises OSError if it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def bind_to_all(descriptor: int) -> None:
    """Bind a packet socket to all protocols on all interfaces; Python's own bind requires an interface name.
    Raises OSError.
    """
    address = SockaddrLl(AF_PACKET, (ETH_P_ALL << 8) if sys.byteorder == "little" else ETH_P_ALL)
    _checked(_libc.bind(descriptor, byref(address), ctypes.sizeof(address)), "bind")


def inotify() -> int:
    """A non-blocking descriptor that reports changes in directories. Raises OSError."""
    return _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")


def inotify_watch(descriptor: int, path: str, mask: int) -> int:
    """Watch `path`. Returns the number of the watch. Raises OSError, such as FileNotFoundError."""
    return _checked(_libc.inotify_add_watch(descriptor, os.fsencode(path), mask), path)


def prctl(option: int, value: int) -> None:
    """Change one setting of this process. Raises OSError."""
    _checked(_libc.prctl(option, c_ulong(value), c_ulong(0), c_ulong(0), c_ulong(0)), "prctl")


def set_capabilities(wanted: int) -> None:
    """Keep exactly the capabilities of the bit mask `wanted`, below 2^32. Raises OSError if the process lacks
    one.
    """
    header = (c_uint * 2)(CAPABILITY_VERSION_3, 0)
    data = (c_uint * 6)(
        wanted, wanted, 0, 0, 0, 0
    )  # effective, permitted, inheritable; then the same for the upper half
    _checked(_libc.capset(header, data), "capset")
