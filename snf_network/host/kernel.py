"""The interface to the kernel: netlink messages, tools such as nft and ip, settings and files."""

from __future__ import annotations

import posix
from _socket import if_indextoname, if_nametoindex
from select import POLLIN, poll
from time import monotonic

from snf_network.errors import Hung, KernelError
from snf_network.host.netlink import Netlink
from snf_network.host.nftables import encode, has, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from snf_network.host.nftables import Changes
    from snf_network.model.resources import Element, Resource, Route

PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = {
    "nft": "nftables",
    "ip": "iproute2",
    "bridge": "iproute2",
    "ovs-vsctl": "openvswitch-switch",
    "nsupdate": "bind9-dnsutils",
    "kinit": "krb5-user",
    "wg": "wireguard-tools",
}
PAGE = 4096
"""Maximum size of a kernel setting in bytes; stat(2) reports it as empty."""
LONGEST_FILE = 1 << 24
"""Maximum size in bytes of a file that is read."""
PACKAGE = __file__.rpartition("/host/")[0]
RULES = f"{PACKAGE}/rules"
"""Where nft includes the rules from."""
LAUNCHERS = (f"{PACKAGE}/../scripts", f"{PACKAGE}/../../../../bin", "/usr/lib/snf-network")
"""Directories of our own scripts: in a checkout, next to pip's site-packages, and in the Debian package."""
NEWLINE = "\n"
TRIES, INTERRUPTED = 5, "Dump was interrupted"
"""How often to repeat a dump that changed meanwhile, and ip(8)'s words for that, with exit status 0."""
ENVIRONMENT = {"PATH": PATHS, "LC_ALL": "C"}
MARK = "SNF_NETWORK_TOOL"
"""Its environment tells that a tool is ours."""
NOBODY: Mapping[str, int] = {}
"""No device whose ifindex is known, for rtnetlink."""
passed_on: set[int] = set()
"""Descriptors of locks, which each tool gets: the lock of a call that was killed stays while its tool runs.
"""
_deadline = [0.0]


def give_up_after(seconds: float) -> None:
    """Limit the time of all tools together to `seconds` from now: Ganeti waits for us."""
    _deadline[0] = monotonic() + seconds


def patience(seconds: float) -> float:
    """When to stop waiting, as a value of monotonic(): after `seconds`, but not after the deadline of the
    whole call.
    """
    then = monotonic() + seconds
    return min(then, _deadline[0]) if _deadline[0] else then


def is_late() -> bool:
    """True if the deadline of the call has passed."""
    return 0 < _deadline[0] < monotonic()


def run(argv: Sequence[str], text: str = "", env: Mapping[str, str] = ENVIRONMENT) -> tuple[int, str]:
    """Run a tool with `text` as its input; returns its exit status and output. If it fails, the output is its
    stderr, if not empty.

    Raises Hung if it is killed, at the deadline or otherwise: what it had done by then is unknown;
    KernelError if it is missing or cannot be started.
    """
    status, out, error = _run(argv, text, env)
    return status, (error or out) if status else out


def ask(argv: Sequence[str], text: str = "") -> str:
    """The output of a tool that lists something; repeated if the list changed while it was read. `text` is
    its input. Raises KernelError.
    """
    for _ in range(TRIES):
        status, out, error = _run(argv, text, ENVIRONMENT)
        if status:
            raise KernelError(f"{' '.join(argv)}: {(error or out).strip().partition(NEWLINE)[0]}")
        if INTERRUPTED not in error:
            return out
    raise KernelError(
        f"{' '.join(argv)}: the list changed again and again", "links come and go too fast: try again"
    )


def _run(argv: Sequence[str], text: str, env: Mapping[str, str]) -> tuple[int, str, str]:
    files: list[int] = []
    try:
        for name in ("stdin", "stdout", "stderr"):
            files.append(posix.memfd_create(name, posix.MFD_CLOEXEC))
        write_all(files[0], text)
        posix.lseek(files[0], 0, 0)
        actions = [(posix.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)]
        actions += [(posix.POSIX_SPAWN_DUP2, lock, lock) for lock in passed_on]
        status = _wait(argv, _spawn(argv, actions, env))
        if status < 0:
            raise Hung(f"{' '.join(argv)} was killed by signal {-status}")
        out, error = (
            posix.pread(file, posix.fstat(file).st_size, 0).decode("utf-8", "replace") for file in files[1:]
        )
        return status, out, error
    except OSError as error:
        raise KernelError(f"{argv[0]}: {error.strerror}") from error
    finally:
        for file in files:
            posix.close(file)


def _spawn(argv: Sequence[str], actions: list[tuple[int, int, int]], env: Mapping[str, str]) -> int:
    for path in (f"{directory}/{argv[0]}" for directory in PATHS.split(":")):
        if posix.access(path, posix.F_OK):  # a failing spawn would cost a process
            try:
                return posix.posix_spawn(path, tuple(argv), {**env, MARK: "1"}, file_actions=actions)
            except OSError as error:
                raise KernelError(f"{path}: {error.strerror}") from error
    raise KernelError(f"{argv[0]} is not installed", f"apt install {PACKAGES.get(argv[0], argv[0])}")


def detach(launcher: str) -> None:
    """Start one of our scripts in its own session, without our open descriptors: neither we nor Ganeti wait
    for it.

    Raises KernelError if it cannot be started.
    """
    null = [(posix.POSIX_SPAWN_OPEN, number, "/dev/null", posix.O_RDWR, 0) for number in range(3)]
    for path in (f"{directory}/{launcher}" for directory in LAUNCHERS):
        if posix.access(path, posix.X_OK):
            try:
                posix.posix_spawn(path, (path,), ENVIRONMENT, file_actions=null, setsid=True)
            except OSError as error:
                raise KernelError(f"{path}: {error.strerror}") from error
            return
    raise KernelError(f"{launcher} is not installed", LAUNCHERS[-1])


def _wait(argv: Sequence[str], pid: int) -> int:
    """Wait and return the exit status; kills the child at the deadline."""
    try:
        handle = posix.pidfd_open(pid)
    except OSError as error:  # out of descriptors: the child must not run on unwatched
        posix.kill(pid, 9)
        posix.waitpid(pid, 0)
        raise Hung(f"{' '.join(argv)} was killed: {error.strerror}") from error
    try:
        waiting = poll()
        waiting.register(handle, POLLIN)
        if not waiting.poll(max(patience(60) - monotonic(), 0.1) * 1000):
            posix.kill(pid, 9)
            posix.waitpid(pid, 0)
            raise Hung(f"{' '.join(argv)} hung and was killed")
        return posix.waitstatus_to_exitcode(posix.waitpid(pid, 0)[1])
    finally:
        posix.close(handle)


def nft(lines: Iterable[str]) -> str:
    """One nft transaction: all of it or nothing. Returns nft's error, empty on success."""
    text = "\n".join(lines)
    if not text:
        return ""
    status, said = run(("nft", "-I", RULES, "-f", "-"), f"{text}\n")
    return "" if not status else said.strip() or f"nft: exit {status}"


def change_members(changes: Changes) -> str:
    """Change members in one transaction, or none; returns the error, empty on success. Raises KernelError."""
    if not (datagram := encode(changes) if changes else b""):
        return nft(one.add() if add else one.delete() for one, add in changes)
    try:
        return send(datagram, changes)
    except OSError as error:
        raise KernelError(f"nftables: {error.strerror or error}") from error


def has_element(one: Element) -> bool:
    """True if the set or map exists and has the key. Raises KernelError."""
    if (there := has(one)) is not None:
        return there
    return not run(("nft", "get", "element", one.family, "snf_network", one.set, f"{{ {one.key} }}"))[0]


def rtnetlink(resources: Sequence[Resource], add: bool, known: Mapping[str, int] = NOBODY) -> list[str]:
    """Add or delete each; returns the kernel's error for each, empty on success. `known` has the ifindex of
    devices that another of the same name must not stand for. Raises KernelError without a socket.
    """
    try:
        with Netlink() as netlink:
            return netlink.send(resources, add, lambda name: known.get(name) or _index(name))
    except OSError as error:
        raise KernelError(f"rtnetlink: {error.strerror or error}") from error


def holders(routes: Sequence[Route]) -> list[int]:
    """For each route, the ifindex of the device that its exact prefix leads to in its table now; 0 without
    such a route. Raises KernelError.
    """
    try:
        with Netlink() as netlink:
            return [netlink.holder(route.prefix, int(route.table)) for route in routes]
    except OSError as error:
        raise KernelError(f"rtnetlink: {error.strerror or error}") from error


def ovs(words: str) -> str:
    """Run ovs-vsctl; returns its error, empty on success. Raises Hung, and KernelError if it is missing."""
    status, said = run(("ovs-vsctl", "--timeout=3", *words.split()))
    return f"{said.strip()} (is the Open vSwitch bridge there?)" if status else ""


def _index(interface: str) -> int:
    if number := ifindex(interface):
        return number
    raise KernelError(f"{interface}: no such device")


def sysctl(key: str, value: str) -> bool:
    """Set a key if its value differs; True if it did. Raises KernelError if the key does not exist or the
    kernel refuses the value.
    """
    path, wanted = f"/proc/sys/{key}", value.encode()
    try:
        if setting(path) == wanted:
            return False
        _put_setting(path, wanted)  # only then: it may be read-only in a container
        return True
    except OSError as error:
        raise KernelError(f"sysctl {key}={value}: {error.strerror}") from error


def _put_setting(path: str, value: bytes) -> None:
    descriptor = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        posix.write(descriptor, value)
    finally:
        posix.close(descriptor)


def setting(path: str) -> bytes:
    """What a setting is now. An ifup reads 16; open() would take twice the system calls. Raises OSError."""
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(descriptor, PAGE).strip()
    finally:
        posix.close(descriptor)


def flush_port(interface: str) -> None:
    """Flush the MAC addresses that a bridge has learned on a port; no effect on other devices."""
    try:
        _put_setting(f"/sys/class/net/{interface}/brport/flush", b"1")
    except OSError:
        pass


def flush_neighbours(interface: str) -> None:
    """Flush the neighbours that the node has learned on a device, except permanent ones."""
    run(("ip", "neigh", "flush", "dev", interface))


def write_file(path: str, content: str) -> None:
    """Write a file atomically by rename, mode 0644; makes a missing directory. Raises KernelError."""
    try:
        posix.close(put_file(path, content))
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}") from error


def put_file(path: str, content: str) -> int:
    """As write_file, but returns the new file open, for fsync. Raises OSError; leaves no temporary file
    behind.
    """
    beside = _beside(path)
    descriptor = _created(beside)
    try:
        posix.fchmod(descriptor, 0o644)
        write_all(descriptor, content)
        posix.rename(beside, path)
    except OSError:
        posix.close(descriptor)
        remove_file(beside)
        raise
    return descriptor


def _created(path: str) -> int:
    """Open a new file: removes an existing one and follows no link. Raises OSError."""
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    remove_file(path)
    try:
        return posix.open(path, flags, 0o644)
    except FileNotFoundError:
        make_directory(path.rpartition("/")[0])
        return posix.open(path, flags, 0o644)


def _beside(path: str) -> str:
    """The temporary name of a file before its rename; `path` may have a name of the maximum 255 bytes."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/.{name[:200]}.new"


def write_all(descriptor: int, content: str) -> None:
    """Write all of `content`: on a nearly full disk, write(2) may write only a part and fail only for the
    rest. Raises OSError.
    """
    left = content.encode("utf-8", "surrogateescape")
    while left:
        left = left[posix.write(descriptor, left) :]


def make_directory(path: str) -> None:
    """Make a directory, or accept an existing one. Raises OSError, also for a dangling link."""
    try:
        posix.mkdir(path, 0o755)
    except FileExistsError:
        posix.stat(path)


def read_file(path: str, follow: bool = False) -> str | None:
    """The content of a regular file or a kernel setting; None for anything else, which is not waited for, nor
    (a symbolic link) followed unless `follow`.

    Also None for a file over the size limit: it cannot be one of ours.
    """
    flags = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
    try:
        descriptor = posix.open(path, flags if follow else flags | posix.O_NOFOLLOW)
    except OSError:
        return None
    try:
        status = posix.fstat(descriptor)
        if status.st_mode & 0o170000 != 0o100000 or status.st_size > LONGEST_FILE:
            return None
        return posix.read(descriptor, max(status.st_size, PAGE)).decode("utf-8", "surrogateescape")
    except OSError:  # the setting of a device that is gone by now
        return None
    finally:
        posix.close(descriptor)


def remove_file(path: str) -> None:
    """Remove a file if it exists."""
    try:
        posix.unlink(path)
    except OSError:
        pass


def withdraw_file(path: str) -> None:
    """Remove what write_file wrote, or had begun to write when it was killed."""
    remove_file(path)
    remove_file(_beside(path))


def ifindex(interface: str) -> int:
    """The kernel's number of a device; 0 if no device has that name."""
    try:
        return if_nametoindex(interface)
    except OSError:
        return 0


def ifname(index: int) -> str:
    """The name of the device with this ifindex; empty if there is none."""
    try:
        return if_indextoname(index) if index else ""
    except OSError:
        return ""


def is_up(interface: str) -> bool:
    """True if the device exists and is administratively up."""
    flags = read_file(f"/sys/class/net/{interface}/flags")
    return flags is not None and bool(int(flags, 16) & 1)


def process(pid: int) -> list[str]:
    """What proc_pid_stat(5) tells of a process, from its state on; empty if there is none."""
    return (read_file(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()


def boot() -> str:
    """The ID of this boot of the kernel. Raises KernelError."""
    if not (said := read_file("/proc/sys/kernel/random/boot_id")):
        raise KernelError("/proc/sys/kernel/random/boot_id cannot be read", "is /proc mounted?")
    return said.strip()
