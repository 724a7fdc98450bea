"""`dataclasses.dataclass(frozen=True)` without its imports: importing `dataclasses` costs 11 ms, more than
the bare interpreter (bench/imports). Type checkers see the real one.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from typing import Any, TypeVar

    C = TypeVar("C")
else:

    def dataclass(*, frozen):
        """Add __init__, __eq__, __hash__, __repr__ and __match_args__ to a class of annotated names; `frozen`
        must be True.
        """
        assert frozen
        return _decorate


def replace(instance: "C", /, **changes: "Any") -> "C":
    """A copy of `instance` with some fields changed, like dataclasses.replace."""
    return type(instance)(**{**instance.__dict__, **changes})


def _decorate(cls: "type[C]") -> "type[C]":
    names = _fields(cls)
    wanted, defaults = set(names), {name: getattr(cls, name) for name in names if hasattr(cls, name)}

    def __init__(self: "Any", *values: "Any", **named: "Any") -> None:
        if len(values) == len(names) and not named:  # reading the records of 1000 NICs makes 50 000 of these
            self.__dict__.update(zip(names, values))
            return
        given = dict(zip(names, values))
        fields = {**defaults, **given, **named}
        if len(values) > len(names) or fields.keys() != wanted or given.keys() & named.keys():
            got = f"{len(values)} values and {', '.join(named) or 'no names'}"
            raise TypeError(f"{cls.__name__} takes {', '.join(names)}; got {got}")
        self.__dict__.update((name, fields[name]) for name in names)

    cls.__match_args__ = names  # type: ignore[attr-defined, misc]
    for method in (__init__, *_METHODS):
        setattr(cls, method.__name__, method)
    return cls


def _fields(cls: type) -> "tuple[str, ...]":
    declared: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        declared |= base.__dict__.get("__annotations__", {})
    return tuple(name for name, kind in declared.items() if not str(kind).startswith("ClassVar"))


def __setattr__(self: object, name: str, value: object) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")


def __delattr__(self: object, name: str) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be deleted")


def __eq__(self: object, other: object) -> bool:
    return self.__dict__ == other.__dict__ if self.__class__ is other.__class__ else NotImplemented


def __hash__(self: object) -> int:
    return hash(tuple(self.__dict__.values()))


def __repr__(self: object) -> str:
    fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
    return f"{self.__class__.__qualname__}({fields})"


_METHODS = (__setattr__, __delattr__, __eq__, __hash__, __repr__)
