"""`dataclasses.dataclass(frozen=True)` without its imports.

Importing `dataclasses` costs 11 ms, twice the bare interpreter (bench/imports), so the up/down path makes its
classes with these forty lines. Type checkers are shown the real one:

    if TYPE_CHECKING:
        from dataclasses import dataclass
    else:
        from snf_network.lean import dataclass
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    C = TypeVar("C")


def dataclass(*, frozen: bool) -> "Callable[[type[C]], type[C]]":
    """Give a class of annotated names __init__, __eq__, __hash__ and __repr__; `frozen` must be True."""
    assert frozen
    return _decorate


def replace(instance: "C", **changes: "Any") -> "C":
    """A copy of `instance` with some fields changed, as dataclasses.replace."""
    return type(instance)(**{**instance.__dict__, **changes})


def _decorate(cls: "type[C]") -> "type[C]":
    declared = [base.__dict__.get("__annotations__", {}) for base in reversed(cls.__mro__)]
    names = tuple(
        dict.fromkeys(
            name
            for fields in declared
            for name, kind in fields.items()
            if not str(kind).startswith("ClassVar")
        )
    )
    wanted, defaults = set(names), {name: getattr(cls, name) for name in names if hasattr(cls, name)}

    def __init__(self: "Any", *values: "Any", **named: "Any") -> None:
        if len(values) == len(names) and not named:  # a record of 1000 NICs is 50 000 of these
            self.__dict__.update(zip(names, values))
            return
        given = dict(zip(names, values))
        fields = {**defaults, **given, **named}
        if len(values) > len(names) or fields.keys() != wanted or given.keys() & named.keys():
            raise TypeError(
                f"{cls.__name__} takes {', '.join(names)}; got {len(values)} values and {', '.join(named) or 'no names'}"
            )
        self.__dict__.update((name, fields[name]) for name in names)

    def __setattr__(self: "Any", name: str, value: "Any") -> None:
        raise AttributeError(f"{cls.__name__} is frozen: {name} cannot be set")

    def __delattr__(self: "Any", name: str) -> None:
        raise AttributeError(f"{cls.__name__} is frozen: {name} cannot be deleted")

    def __eq__(self: "Any", other: object) -> bool:
        return self.__dict__ == other.__dict__ if self.__class__ is other.__class__ else NotImplemented

    def __hash__(self: "Any") -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self: "Any") -> str:
        return f"{self.__class__.__qualname__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

    for method in (__init__, __setattr__, __delattr__, __eq__, __hash__, __repr__):
        setattr(cls, method.__name__, method)
    return cls
