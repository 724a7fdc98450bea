"""From root to a user with only the capabilities of the engine, for good: no_new_privs, and an empty bounding
set.

For a daemon that is started by hand or by an init script. Under systemd, the unit's settings do the same, and
this only adds no_new_privs. setpriv(1) could not do it: the sockets need root first.
"""

from __future__ import annotations

import os
import pwd

from snf_network.dhcpd import syscalls
from snf_network.errors import BadConfig

LAST_CAPABILITY = "/proc/sys/kernel/cap_last_cap"


def drop(user: str, capabilities: int) -> None:
    """If running as root, become `user` with the capabilities of a bit mask; else only forbid gaining any.

    Raises BadConfig if there is no such user, and OSError.
    """
    if os.geteuid() == 0:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise BadConfig(
                f"user {user} does not exist", f"adduser --system {user}, or another user in nfdhcpd.conf"
            ) from None
        _forget_bounding_set(capabilities)
        syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
        syscalls.set_capabilities(capabilities)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def _forget_bounding_set(kept: int) -> None:
    with open(LAST_CAPABILITY, encoding="ascii") as file:
        last = int(file.read())
    for number in range(last + 1):
        if not kept >> number & 1:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
