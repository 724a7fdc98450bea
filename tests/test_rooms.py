"""Which room may import which: the rules of docs/map.md, checked against the imports.

Each folder of snf_network/ is a room, and so is each module directly in it. Imports under `if TYPE_CHECKING`
count, because a type is knowledge, too.
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
GROUND = ("__init__", "bundle", "errors", "lean", "wire")
"""Everybody's."""

# room: the rooms that its modules may import
ROOMS = {
    "__init__": (),
    "bundle": (),
    "errors": (),
    "lean": (),
    "wire": (),
    "addresses": (),
    "values": ("addresses",),
    "document": (),
    # what is said, and what is
    "model": ("addresses", "document"),
    # decide
    "setups": ("addresses", "model", "values"),
    "networks": ("addresses", "model"),
    "plan": ("model", "setups"),
    # do
    "host": ("addresses", "model"),
    "rules": ("host", "model"),
    "apply": ("host", "model", "rules"),
    # ask
    "observe": ("addresses", "host", "model", "rules"),
    # read a node of the bash package
    "adopt": ("addresses", "host", "model"),
    # houses of their own
    "dns": ("addresses", "host", "model"),
    "dhcpd": ("addresses", "document", "values"),
    "selftest": ("host", "observe"),
    # keep what is in place
    "watch": ("apply", "dhcpd", "host", "model", "observe", "scripts"),
    # speak with those who call
    "scripts": ("addresses", "apply", "dns", "host", "model", "observe", "plan", "setups"),
    "commands": (
        "addresses",
        "adopt",
        "apply",
        "dhcpd",
        "dns",
        "host",
        "model",
        "networks",
        "observe",
        "plan",
        "rules",
        "scripts",
        "selftest",
        "setups",
        "watch",
    ),
}
# who may do what nobody else may
PROCESSES = {
    "host/kernel": {"posix_spawn"},
    "apply/announce": {"fork"},
    "setups/foreign": {"subprocess"},
    "dhcpd/detach": {"fork"},
    "selftest/world": {"subprocess"},
    "observe/trace": {"subprocess"},
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
    "watch/listen",
    "host/netlink",
    "host/nftables",
    "host/conntrack",
    "scripts/process",
    "apply/announce",
    "selftest/world",
    "selftest/frames",
    "selftest/matrix",
    "selftest/site",
    "dns/send",
    "dhcpd/packet_socket",
    "dhcpd/nfqueue",
    "dhcpd/links",
    "dhcpd/control",
    "dhcpd/notify",
    "dhcpd/control_client",
    "dhcpd/relay",
)
ENVIRON = ("scripts", "commands")
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
    return module.partition("/")[0]


@cache
def imports(module: str) -> list[tuple[str, bool, bool]]:
    """The dotted names that a module imports, each with True if in a function, and True if for types only.

    `from a import b` is a.b where that is a module of ours.
    """
    found: list[tuple[str, bool, bool]] = []
    for node, within, typing in walk(TREES[module]):
        if isinstance(node, ast.Import):
            found += [(alias.name, within, typing) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = absolute(module, node)
            for alias in node.names:
                inner = f"{source}.{alias.name}".removeprefix("snf_network.").replace(".", "/")
                ours = {inner, f"{inner}/__init__"} & TREES.keys()
                found.append((f"{source}.{alias.name}" if ours else source, within, typing))
    return found


def walk(node: ast.AST, within: bool = False, typing: bool = False) -> Iterator[tuple[ast.AST, bool, bool]]:
    """Every node, whether it is in a function, and whether only type checkers see it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for branch, seen in ((child.body, True), (child.orelse, typing)):
                for other in branch:
                    yield other, within, seen
                    yield from walk(other, within, seen)
            continue
        yield child, within, typing
        yield from walk(
            child, within or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)), typing
        )


def absolute(module: str, node: ast.ImportFrom) -> str:
    """The dotted name that `from ... import` reads, which may be told relative to the module."""
    folders = ["snf_network", *module.split("/")]
    if not node.level:
        return node.module or ""
    return ".".join([*folders[: len(folders) - node.level], *filter(None, [node.module])])


def of_ours(module: str, typing: bool = True) -> set[str]:
    """The modules of ours that a module imports, as in TREES; with `typing`, also what it imports for
    types.
    """
    known = [name for name, _, types in imports(module) if typing or not types]
    found = {
        name.removeprefix("snf_network.").replace(".", "/")
        for name in known
        if name.startswith("snf_network")
    }
    return {
        name if name in TREES else "__init__" if name == "snf_network" else f"{name}/__init__"
        for name in found
    }


MODULES = pytest.mark.parametrize("module", TREES)


@MODULES
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    assert room(module) in ROOMS, f"{module}.py is in no room: give it a line in ROOMS and one in docs/map.md"
    allowed = (room(module), *ROOMS[room(module)], *GROUND)
    wrong = {name for name in of_ours(module) if room(name) not in allowed}
    assert not wrong, f"{module}.py must not know {', '.join(wrong)}"


def test_every_room_is_lived_in_and_every_allowance_used() -> None:
    used: dict[str, set[str]] = {room(module): set() for module in TREES}
    for module in TREES:
        used[room(module)] |= {room(name) for name in of_ours(module)} - {room(module), *GROUND}
    assert used == {name: set(allowed) for name, allowed in ROOMS.items()}


def test_no_modules_go_round_in_a_circle() -> None:
    left = {module: of_ours(module) - {module} for module in TREES}
    while leaves := [module for module, known in left.items() if not known & left.keys()]:
        for module in leaves:
            del left[module]
    assert not left, "a circle is among these"


def test_few_modules_stand_outside_of_a_folder() -> None:
    assert len([module for module in TREES if "/" not in module]) <= 9


# --- doors


@cache
def names(module: str) -> set[str]:
    """Every name that a module uses, imports or reaches for."""
    found = {part for name, _, types in imports(module) if not types for part in name.split(".")}
    for node, _, types in walk(TREES[module]):
        if types:
            continue
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
        for node, _, _ in walk(TREES[module])
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
    """All modules that bringing a NIC up or down may run, by whatever import."""
    seen: set[str] = set()
    todo = {"scripts/kvm", "scripts/xen", *(name for name in TREES if room(name) == "setups")}
    while todo:
        module = todo.pop()
        seen.add(module)
        todo |= of_ours(module, typing=False) - seen
    return seen


def test_the_path_of_a_nic_is_what_it_is_thought_to_be() -> None:
    known = {"host/kernel", "host/netlink", "apply/steps", "rules/ruleset", "model/nic", "setups/foreign"}
    assert known <= path_of_a_nic()
    assert not {"observe/readback", "observe/drift", "commands/main"} & path_of_a_nic()


@pytest.mark.parametrize("module", sorted(path_of_a_nic()))
def test_a_nic_does_not_wait_for_imports(module: str) -> None:
    heavy = {name.partition(".")[0] for name, _, types in imports(module) if not types} & HEAVY
    assert {(module, name) for name in heavy} <= EXCEPTIONS
    early = {name.partition(".")[0] for name, within, types in imports(module) if not within and not types}
    assert not early & HEAVY, "in the function that needs it"


def test_every_exception_is_used() -> None:
    used = {
        (module, name)
        for module in path_of_a_nic()
        for name, _, types in imports(module)
        if name in HEAVY and not types
    }
    assert used == EXCEPTIONS


@pytest.mark.processes
def test_nothing_heavy_comes_in_by_a_back_door() -> None:
    """Asks a fresh interpreter, started as the launchers are, what it has loaded after the whole path."""
    modules = [
        f"snf_network.{module.removesuffix('/__init__').replace('/', '.')}"
        for module in sorted(path_of_a_nic())
    ]
    script = f"sys.path.insert(0, {str(ROOT)!r}); [__import__(name) for name in {modules!r}]"
    loaded = loaded_by(script)
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    assert len(loaded) - len(loaded_by("")) < 80, "each costs; see docs/design.md"


def loaded_by(script: str) -> list[str]:
    """All modules of an interpreter that is started as the launchers are and has run a script; a newer Python
    loads more by itself.
    """
    argv = ("/usr/bin/python3", "-ISB", "-c", f"import sys; {script}\nprint(*sys.modules)")
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


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
