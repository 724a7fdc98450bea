"""Which room a line belongs to, and who may look into whose: docs/map.md, read off the imports.

A new module needs a line in ROOMS. `errors` and `lean` are everybody's. What is under `if TYPE_CHECKING` is
not imported and not counted.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "snf_network"
SHOWN = ("errors", "lean")

# the kinds about bridges are in a file of their own, which the other opens when it reads of one
PARTS = {"switches": "resources"}
# module: what of ours it may import. A folder's modules share one line; ANY may import anything
ANY = frozenset(("*",))
ROOMS = {
    "__init__": frozenset(()),
    "errors": frozenset(()),
    "lean": frozenset(()),
    # what is said, and what is
    "nic": frozenset(()),
    "operation": frozenset(("nic",)),
    "config": frozenset(()),
    "node": frozenset(()),
    "resources": frozenset(()),
    # decide
    "setups": frozenset(("setups", "resources", "nic", "node", "config")),
    "plan": frozenset(("setups", "resources", "dns")),
    "show": frozenset(("resources",)),
    # do
    "kernel": frozenset(("resources",)),
    "netlink": frozenset(("resources",)),
    "ruleset": frozenset(("kernel",)),
    "lock": frozenset(("kernel",)),
    "record": frozenset(("kernel", "lock", "resources")),
    "doors": frozenset(("kernel", "netlink", "resources", "ruleset")),
    "engine": frozenset(("doors", "kernel", "lock", "record", "resources", "ruleset")),
    "announce": frozenset(()),
    "dhcpd": frozenset(("dhcpd", "nic")),
    "dns": frozenset(("kernel", "lock", "record", "config")),
    # ask
    "host": frozenset(("kernel", "netlink", "node", "resources", "ruleset")),
    "look": frozenset(("kernel", "members", "netlink", "resources")),
    "members": frozenset(("kernel", "resources")),
    "reasons": frozenset(()),
    "drift": frozenset(("host", "kernel", "look", "record", "resources", "ruleset")),
    # try out
    "trace": frozenset(("kernel",)),
    "selftest": frozenset(("kernel", "selftest", "trace")),
    # speak with those who call
    "bringup": ANY,
    "scripts": ANY,
    "xen": ANY,
    "hooks": ANY,
    "dnshook": ANY,
    "commands": ANY,
}
# who may do what nobody else may
PROCESSES = {
    "kernel": {"posix_spawn"},
    "announce": {"fork"},
    "setups/foreign": {"subprocess"},
    "dhcpd/detach": {"fork"},
    "selftest/world": {"subprocess"},
    "trace": {"subprocess"},
}
STARTERS = {
    "posix_spawn",
    "posix_spawnp",
    "fork",
    "forkpty",
    "vfork",
    "fork_exec",
    "system",
    "popen",
    "spawnv",
    "spawnve",
    "subprocess",
    "multiprocessing",
    "pty",
}
SOCKETS = (
    "netlink",
    "announce",
    "selftest/world",
    "selftest/frames",
    "selftest/matrix",
    "dns/send",
    "dhcpd/engine",
    "dhcpd/nfqueue",
    "dhcpd/links",
    "dhcpd/control",
    "dhcpd/notify",
    "commands/nfdhcpctl",
)
ENVIRON = ("scripts", "xen", "hooks", "commands")
# a NIC waits for all that this path imports: docs/design.md has what each costs
HEAVY = {
    "argparse",
    "collections",
    "contextlib",
    "dataclasses",
    "dns",
    "enum",
    "functools",
    "importlib",
    "inspect",
    "ipaddress",
    "json",
    "logging",
    "os",
    "pathlib",
    "pyroute2",
    "re",
    "shlex",
    "shutil",
    "socket",
    "string",
    "struct",
    "subprocess",
    "tempfile",
    "threading",
    "typing",
    "yaml",
}
# a third party's executable is worth its price; nobody else pays it
EXCEPTIONS = {("setups/foreign", "json"), ("setups/foreign", "subprocess")}

TREES = {
    str(path.relative_to(PACKAGE).with_suffix("")): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room(module: str) -> str:
    name = module.partition("/")[0]
    return PARTS.get(name, name)


def effective(node: ast.AST, within: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """All that runs, and whether it is in a function: what is under `if TYPE_CHECKING` is left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield other, within
                yield from effective(other, within)
            continue
        yield child, within
        yield from effective(
            child, within or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        )


@cache
def imports(module: str) -> list[tuple[str, bool]]:
    """The dotted names that a module imports, each with True if in a function. `from a import b` is a.b where
    that is a module of ours.
    """
    found: list[tuple[str, bool]] = []
    for node, within in effective(TREES[module]):
        if isinstance(node, ast.Import):
            found += [(alias.name, within) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = absolute(module, node)
            for alias in node.names:
                inner = f"{source}.{alias.name}".removeprefix("snf_network.").replace(".", "/")
                found.append(
                    (
                        f"{source}.{alias.name}" if {inner, f"{inner}/__init__"} & TREES.keys() else source,
                        within,
                    )
                )
    return found


def absolute(module: str, node: ast.ImportFrom) -> str:
    """The dotted name that `from ... import` reads, which may be told relative to the module."""
    folders = ["snf_network", *module.split("/")]
    return ".".join(
        [*folders[: len(folders) - node.level], *filter(None, [node.module])]
        if node.level
        else [node.module or ""]
    )


def of_ours(module: str) -> set[str]:
    """The modules of ours that a module imports, as in TREES."""
    found = {
        name.removeprefix("snf_network.").replace(".", "/")
        for name, _ in imports(module)
        if name.startswith("snf_network.")
    }
    return {name if name in TREES else f"{name}/__init__" for name in found}


MODULES = pytest.mark.parametrize("module", TREES)


@MODULES
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    assert room(module) in ROOMS, f"{module}.py is in no room: give it a line in ROOMS and one in docs/map.md"
    allowed = ROOMS[room(module)]
    wrong = {
        name
        for name in of_ours(module)
        if room(name) not in (room(module), *allowed, *SHOWN) and allowed is not ANY
    }
    assert not wrong, f"{module}.py must not know {', '.join(wrong)}"


def test_every_room_is_lived_in() -> None:
    assert set(ROOMS) == {room(module) for module in TREES}


def test_no_two_rooms_know_each_other() -> None:
    pairs = {
        (name, other)
        for name, allowed in ROOMS.items()
        for other in allowed
        if other != name and name in ROOMS.get(other, ())
    }
    assert pairs == set()


def test_deciding_and_doing_do_not_meet() -> None:
    deciding = {"plan", "setups", "nic", "config", "node", "show"}
    doing = {"engine", "doors", "kernel", "netlink", "record", "ruleset", "announce"}
    for module in TREES:
        if room(module) in deciding | doing:
            other = doing if room(module) in deciding else deciding
            assert not {room(name) for name in of_ours(module)} & other


# --- doors


@cache
def names(module: str) -> set[str]:
    """Every name that a module uses, imports or reaches for."""
    found = {part for name, _ in imports(module) for part in name.split(".")}
    for node, _ in effective(TREES[module]):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Name):
            found.add(node.id)
    return found


@MODULES
def test_processes_are_started_in_one_place_each(module: str) -> None:
    assert names(module) & STARTERS <= PROCESSES.get(module, set())


@pytest.mark.parametrize("module", PROCESSES)
def test_those_that_may_start_processes_do(module: str) -> None:
    assert names(module) & STARTERS == PROCESSES[module], "what is not needed is not allowed"


@MODULES
def test_sockets_are_opened_in_few_places(module: str) -> None:
    opened = [
        node
        for node, _ in effective(TREES[module])
        if (
            isinstance(node, ast.ImportFrom)
            and node.module in ("socket", "_socket")
            and any(alias.name in ("socket", "create_connection", "socketpair") for alias in node.names)
        )
        or (isinstance(node, ast.Import) and any(alias.name in ("socket", "_socket") for alias in node.names))
    ]
    assert not opened or module in SOCKETS


@MODULES
def test_only_those_who_are_called_look_at_the_environment(module: str) -> None:
    assert room(module) in ENVIRON or not names(module) & {"environ", "environb", "getenv"}


# --- lean


def path_of_a_nic() -> set[str]:
    """All modules that bringing a NIC up or down may run, by whatever import; the operator's commands are not
    among them.
    """
    seen: set[str] = set()
    todo = {"scripts", "xen", *(name for name in TREES if room(name) == "setups")}
    while todo:
        module = todo.pop()
        seen.add(module)
        todo |= {name for name in of_ours(module) if room(name) != "commands"} - seen
    return seen


def test_the_path_of_a_nic_is_what_it_is_thought_to_be() -> None:
    assert {"kernel", "netlink", "doors", "ruleset", "nic", "config", "setups/foreign"} <= path_of_a_nic()
    assert not {"look", "members", "drift"} & path_of_a_nic()


@pytest.mark.parametrize("module", sorted(path_of_a_nic()))
def test_a_nic_does_not_wait_for_imports(module: str) -> None:
    heavy = {name.partition(".")[0] for name, _ in imports(module)} & HEAVY
    assert {(module, name) for name in heavy} <= EXCEPTIONS
    assert not {name.partition(".")[0] for name, within in imports(module) if not within} & HEAVY, (
        "in the function that needs it"
    )


def test_every_exception_is_used() -> None:
    assert {
        (module, name) for module in path_of_a_nic() for name, _ in imports(module) if name in HEAVY
    } == EXCEPTIONS


@pytest.mark.processes
def test_nothing_heavy_comes_in_by_a_back_door() -> None:
    """Asks a fresh interpreter, started as the launchers are, what it has loaded after the whole path."""
    modules = [
        f"snf_network.{module.removesuffix('/__init__').replace('/', '.')}"
        for module in sorted(path_of_a_nic())
    ]
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); [__import__(name) for name in {modules!r}]; print(*sys.modules)"
    loaded = subprocess.run(
        ("/usr/bin/python3", "-ISB", "-c", script), capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    assert len(loaded) < 75, "each costs; see docs/design.md"


# --- size, and a sentence for each


@MODULES
def test_a_module_is_at_most_400_lines(module: str) -> None:
    assert len((PACKAGE / f"{module}.py").read_text().splitlines()) <= 400, "split it"


@MODULES
def test_a_function_is_at_most_40_lines(module: str) -> None:
    functions = [
        node for node in ast.walk(TREES[module]) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert {
        node.name: size for node in functions if (size := (node.end_lineno or 0) - node.lineno + 1) > 40
    } == {}


def public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in body:
        if isinstance(
            node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        ) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


@MODULES
def test_every_module_and_all_that_is_public_says_what_it_is(module: str) -> None:
    silent = [node.name for node in public(TREES[module].body) if not ast.get_docstring(node)]
    assert silent == [] and ast.get_docstring(TREES[module])
