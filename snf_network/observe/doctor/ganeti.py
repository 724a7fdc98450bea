"""Whether the Ganeti or Xen that is installed here calls our scripts, and its hooks are ours."""

from __future__ import annotations

import os
from glob import glob
from os.path import dirname, normpath, realpath
from typing import TYPE_CHECKING

from snf_network.addresses import is_interface, is_name
from snf_network.host.kernel import LAUNCHERS, ifindex, read_file
from snf_network.model.config import dns_is_on
from snf_network.observe.doctor.finding import CRITICAL, WARNING, Finding
from snf_network.observe.doctor.look import Look, several

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARIES = ("/usr/lib/ganeti", "/usr/local/lib/ganeti")
"""Where Ganeti calls them. In Debian they are links into the version that is in use."""
CALLERS = ("kvm-ifup", "kvm-nic-setup")
"""Ganeti's own scripts, which call an administrator's: of 3.0 and 3.1, and of 3.2."""
GRNET = "kvm-ifup-custom"
"""What GRNET's kvm-ifup calls, and no other."""
OURS = (b"snf_network", b"snf-network", b"kvm-ifup-custom")
"""Words in a launcher, which Ganeti may have copied here, and in a script that calls it."""
UP, DOWN = "kvm-ifup-custom", "kvm-ifdown-custom"
MODES = ("bridged", "ext", "openvswitch", "routed")
HOOK = ("add", "failover", "migrate", "modify", "move", "reboot", "remove", "rename", "stop")
DNSHOOK = ("modify", "remove", "rename", "stop")
ETC = "/etc/ganeti"
NICS = "/var/run/ganeti/kvm-hypervisor/nic"
"""Ganeti's files INSTANCE/INDEX, each with the name of a tap. That of a guest that powered off stays."""
GANETIS_OWN = "gnt.com."
"""What the names of taps begin with that Ganeti uses to talk with a guest."""


def scripts(look: Look) -> Iterator[Finding]:
    """Places where Ganeti looks for a script, and does not find ours."""
    for path, launcher in _called().items():
        why = _wrong(path)
        if why and launcher == DOWN:
            what = f"{path} {why}: what a guest had stays until snf-network gc runs"
            yield Finding(WARNING, "ganeti-script", what, _link(path, launcher))
        elif why:
            what = f"{path} {why}: Ganeti brings NICs up without filters"
            yield Finding(CRITICAL, "ganeti-script", what, _link(path, launcher))


def hooks(look: Look) -> Iterator[Finding]:
    """Hooks that are missing, one finding for each of ours."""
    if not _found():
        return
    wanted = {"snf-network-hook": HOOK, "snf-network-reconfigure": ("modify",)}
    wanted |= {"snf-network-dnshook": DNSHOOK} if dns_is_on(look.config) else {}
    losses = {
        "snf-network-hook": "two nodes answer for a guest that migrated, until snf-network gc runs",
        "snf-network-reconfigure": "the tag `reconfigure` does nothing",
        "snf-network-dnshook": "names of guests that are gone stay in DNS",
    }
    for hook, operations in wanted.items():
        paths = [f"{ETC}/hooks/instance-{operation}-post.d/{hook}" for operation in operations]
        wrong = [(path, why) for path in paths if (why := _wrong(path))]
        if wrong:
            path, why = wrong[0]
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            mend = "; ".join(_link(path, hook) for path, _ in wrong)
            yield Finding(WARNING, "ganeti-hook", f"{path} {why}{more}: {losses[hook]}", mend)


def nics(look: Look) -> Iterator[Finding]:
    """Taps of Ganeti's guests that snf-network knows nothing of. Ganeti's job succeeds, or only warns, if the
    ifup of a hot-plugged or migrated NIC fails; and a guest may be older than this package.
    """
    known = {record.interface for record in look.live}
    found = [(tap, instance) for instance, tap in _taps() if tap not in known and ifindex(tap)]
    if found:
        taps = several([f"{tap} of {instance}" for tap, instance in found])
        what = (
            f"{taps}: not brought up by snf-network. Of a hot-plugged or migrated NIC, Ganeti does not say so"
        )
        yield Finding(WARNING, "ganeti-nic", what, f"gnt-instance reboot {found[0][1]}")


def _taps() -> Iterator[tuple[str, str]]:
    for path in sorted(glob(f"{NICS}/*/*")):
        instance, tap = path.split("/")[-2], (read_file(path) or "").strip()
        if is_name(instance) and is_interface(tap) and not tap.startswith(GANETIS_OWN):
            yield instance, tap


def _called() -> dict[str, str]:
    """The paths that this node's Ganeti and Xen call, each with our launcher for it."""
    found = _found()
    paths: dict[str, str] = {}
    if "kvm-ifup" in found and GRNET in found["kvm-ifup"]:
        paths |= {f"{ETC}/{UP}": UP, f"{ETC}/{DOWN}": DOWN}
    elif "kvm-ifup" in found:
        paths |= {f"{ETC}/kvm-vif-bridge": UP}
    if "kvm-nic-setup" in found:
        paths |= {
            f"{ETC}/network/{mode}/{verb}": by for mode in MODES for verb, by in (("up", UP), ("down", DOWN))
        }
    if found and (read_file("/sys/hypervisor/type") or "").strip() == "xen":
        paths |= {"/etc/xen/scripts/vif-custom": "vif-custom"}
    return paths


def _found() -> dict[str, str]:
    """Ganeti's callers that are installed, each with its text."""
    return {
        name: read_file(realpath(path)) or ""
        for library in LIBRARIES
        for name in CALLERS
        if os.path.exists(path := f"{library}/{name}")
    }


def _wrong(path: str) -> str:
    """What keeps Ganeti from calling ours there; empty if nothing does. A script of the administrator's that
    calls ours is fine.
    """
    if not os.path.lexists(path):
        return "is missing"
    if not os.access(path, os.X_OK):
        return "is not executable" if os.path.exists(path) else "leads nowhere"
    if dirname(realpath(path)) in map(realpath, LAUNCHERS):
        return ""
    text = (read_file(realpath(path)) or "").encode("utf-8", "surrogateescape")
    return "" if any(word in text for word in OURS) else "is not snf-network's"


def _link(path: str, launcher: str) -> str:
    places = [f"{folder}/{launcher}" for folder in LAUNCHERS]
    source = next((place for place in places if os.access(place, os.X_OK)), places[-1])
    folder = dirname(path)
    line = f"ln -sf {normpath(source)} {path}"
    return line if os.path.isdir(folder) else f"mkdir -p {folder}; {line}"
