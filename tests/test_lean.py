"""lean.dataclass behaves as dataclasses.dataclass(frozen=True) does."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import pytest

from snf_network import lean

Decorator = Any


def _classes(dataclass: Decorator) -> dict[str, Any]:
    @dataclass(frozen=True)
    class Point:
        kind: ClassVar[str] = "point"
        x: int
        y: int = 2
        tags: tuple[str, ...] = ()

        def total(self) -> int:
            return self.x + self.y

    @dataclass(frozen=True)
    class Twin:
        x: int
        y: int = 2
        tags: tuple[str, ...] = ()

    @dataclass(frozen=True)
    class Child(Point):
        kind: ClassVar[str] = "child"
        z: int = 3

    @dataclass(frozen=True)
    class Changed(Point):
        y: int = 20

    @dataclass(frozen=True)
    class Sibling(Point):
        """Adds nothing."""

    class Plain(Point):
        """Is not decorated."""

    @dataclass(frozen=True)
    class Empty:
        pass

    made = {name: value for name, value in locals().items() if isinstance(value, type)}
    for name, value in made.items():
        value.__qualname__ = name
    return made


LEAN, REAL = _classes(lean.dataclass), _classes(dataclasses.dataclass)


def _outcome(classes: dict[str, Any], name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> str:
    try:
        return repr(classes[name](*arguments, **named))
    except Exception as error:
        return type(error).__name__


CALLS = {
    "by position": ("Point", (1, 5, ("a",)), {}),
    "by name": ("Point", (), {"tags": ("a",), "y": 5, "x": 1}),
    "defaults": ("Point", (1,), {}),
    "mixed": ("Point", (1,), {"tags": ("b",)}),
    "a field missing": ("Point", (), {"y": 5}),
    "an unknown field": ("Point", (1,), {"z": 5}),
    "an unknown field in place of a known one": ("Twin", (), {"y": 5, "tags": (), "q": 1}),
    "too many": ("Point", (1, 2, (), 4), {}),
    "a field twice": ("Point", (1,), {"x": 2}),
    "a class variable is no field": ("Point", (1,), {"kind": "other"}),
    "base before subclass": ("Child", (1, 5, ("a",), 9), {}),
    "inherited defaults": ("Child", (1,), {}),
    "a default that a subclass changes": ("Changed", (1,), {}),
    "a field that a subclass declares again keeps its place": ("Changed", (1, 5, ("a",)), {}),
    "a subclass that adds nothing": ("Sibling", (1,), {}),
    "a subclass that is not decorated": ("Plain", (1, 5), {}),
    "no fields": ("Empty", (), {}),
    "no fields, one given": ("Empty", (1,), {}),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_making_one_gives_the_same_repr_or_the_same_error(
    call: tuple[str, tuple[Any, ...], dict[str, Any]],
) -> None:
    assert _outcome(LEAN, *call) == _outcome(REAL, *call)


PAIRS = {
    "equal values": (("Point", (1, 2)), ("Point", (1,))),
    "another value": (("Point", (1, 2)), ("Point", (1, 3))),
    "another class with the same fields": (("Point", (1, 2)), ("Twin", (1, 2))),
    "a subclass with the same fields": (("Point", (1, 2)), ("Sibling", (1, 2))),
    "a subclass that is not decorated, with itself": (("Plain", (1, 2)), ("Plain", (1, 2))),
    "a tuple": (("Twin", (1, 2)), ("tuple", ((1, 2, ()),))),
    "no fields": (("Empty", ()), ("Empty", ())),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_equality_includes_the_class(pair: Any) -> None:
    def compared(classes: dict[str, Any]) -> tuple[bool, bool, int]:
        one, other = ({**classes, "tuple": tuple}[name](*arguments) for name, arguments in pair)
        return one == other, one != other, len({one, other})

    assert compared(LEAN) == compared(REAL)


def test_equality_leaves_it_to_a_stranger_to_say_that_it_is_equal() -> None:
    class Anything:
        def __eq__(self, other: object) -> bool:
            return True

    assert REAL["Point"](1) == Anything()
    assert LEAN["Point"](1) == Anything()


def test_equal_ones_have_one_hash() -> None:
    assert hash(LEAN["Point"](1)) == hash(LEAN["Point"](1, 2, ()))


def test_a_list_in_a_field_makes_it_unhashable() -> None:
    for classes in (LEAN, REAL):
        with pytest.raises(TypeError):
            hash(classes["Point"]([]))


@pytest.mark.parametrize("name", ["x", "y", "other"])
def test_it_is_frozen(name: str) -> None:
    for classes in (LEAN, REAL):
        point = classes["Point"](1)
        with pytest.raises(AttributeError):
            setattr(point, name, 5)
        with pytest.raises(AttributeError):
            delattr(point, name)
        assert point == classes["Point"](1)


def test_it_must_be_asked_to_be_frozen() -> None:
    with pytest.raises(AssertionError):
        lean.dataclass(frozen=False)


def test_methods_and_class_variables_stay() -> None:
    for classes in (LEAN, REAL):
        child = classes["Child"](1)
        assert (child.total(), child.kind, classes["Point"](1).kind) == (3, "child", "point")


def test_replace_changes_a_copy() -> None:
    for classes, replace in ((LEAN, lean.replace), (REAL, dataclasses.replace)):
        child = classes["Child"](1)
        assert replace(child, y=7) == classes["Child"](1, 7)
        assert child == classes["Child"](1)
        with pytest.raises(TypeError):
            replace(child, other=1)


def test_values_are_kept_in_the_order_of_the_class() -> None:
    for classes in (LEAN, REAL):
        assert list(classes["Child"](z=1, tags=(), y=2, x=3).__dict__) == ["x", "y", "tags", "z"]
