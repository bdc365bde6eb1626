"""A class of the lazy decorator behaves as one of the standard library's."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, field, replace
from itertools import product
from typing import Any, ClassVar

import pytest
from checkout import PACKAGE, ROOT, python

from batchpipe.common.lazy_dataclass import dataclass

ours: Any = dataclass


class Fields:
    """The body of the classes that are compared."""

    kind: ClassVar[str] = "few"
    name: str
    number: int = 3
    items: list[str] = field(default_factory=list)
    hidden: str = field(default="h", repr=False, compare=False)
    within: int = field(default=7, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", self.hidden * 2)

    def doubled(self) -> int:
        return self.number * 2


def made(decorator: Callable[..., Any], **options: bool) -> Any:
    """Return a new class with these fields."""
    body = {name: value for name, value in vars(Fields).items() if name not in ("__dict__", "__weakref__")}
    body["items"] = field(default_factory=list)
    body["hidden"] = field(default="h", repr=False, compare=False)
    body["within"] = field(default=7, init=False)
    return decorator(**options)(type("Fields", (), body))


def tried(act: Callable[[], Any]) -> Any:
    """Return what `act` returns, or the kind and the words of what it raises."""
    try:
        return act()
    except (TypeError, AttributeError) as error:
        return type(error), str(error)


OPTIONS = [dict(zip(("frozen", "slots", "kw_only"), each, strict=True)) for each in product((False, True), repeat=3)]


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda options: "-".join(key for key in options if options[key]) or "no"
)
def test_a_lazy_class_does_what_the_standard_library_does(options: dict[str, bool]) -> None:
    def acts(of: Any) -> list[Any]:
        one = of(name="a", number=5)
        return [
            repr(one),
            one == of(name="a", number=5, hidden="other"),
            one == of(name="b", number=5),
            one == "a",
            of.kind,
            one.doubled(),
            (one.hidden, one.within, one.items),
            asdict(one),
            repr(replace(one, number=6)),
            repr(copy.copy(one)),
            tried(lambda: hash(one)),
            tried(lambda: hash(replace(one, items=()))),
            tried(of),
            tried(lambda: of(name="a", other=1)),
            tried(lambda: of("a")) == one,
            tried(lambda: repr(of("a", 2))),
            tried(lambda: setattr(one, "number", 9)),
            tried(lambda: delattr(one, "number")),
            hasattr(one, "__dict__"),
            of.__match_args__,
            [(each.name, each.type, each.init, each.kw_only) for each in dataclasses.fields(of)],
        ]

    assert acts(made(ours, **options)) == acts(made(dataclasses.dataclass, **options))


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point, whose methods no test but the one below may generate."""

    x: int
    y: int = 0

    def __repr__(self) -> str:
        return f"<{self.x}, {self.y}>"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standard(Point):
    """A point of the standard library's decorator that inherits from a lazy one."""

    z: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lazy(Point):
    """A point that inherits from a lazy one, and is lazy."""

    z: int = 0


def test_methods_are_generated_at_the_first_instance_and_copies_are_equal() -> None:
    assert vars(Point)["__init__"].__name__ == "method"
    point = Point(x=1)
    assert vars(Point)["__init__"].__qualname__ == "Point.__init__"
    assert repr(point) == "<1, 0>", "a method that the class has stays"
    assert pickle.loads(pickle.dumps(point)) == point
    assert copy.deepcopy(point) == point
    with pytest.raises(FrozenInstanceError):
        point.x = 2  # type: ignore[misc]


@pytest.mark.parametrize("kind", [Standard, Lazy])
def test_a_lazy_class_may_be_a_base(kind: type[Standard] | type[Lazy]) -> None:
    point = kind(x=1, z=3)
    assert (point.x, point.y, point.z) == (1, 0, 3)
    assert point == kind(x=1, z=3) != Point(x=1)
    with pytest.raises(FrozenInstanceError):
        point.x = 2  # type: ignore[misc]


def test_modules_that_commands_load_use_it() -> None:
    """The emulator imports no other room, and `library` has the classes of which a notebook shows the signature."""
    eager = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(
            line.startswith("from dataclasses import")
            and "dataclass" in line.split("import")[1].replace(",", " ").split()
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    ]
    assert [each for each in eager if not each.startswith(("emulator/", "library/", "docs/", "common/lazy"))] == []


def test_the_start_generates_few_methods(tmp_path: Any) -> None:
    code = (
        "import dataclasses, sys\n"
        "import batchpipe.commands.status.status, batchpipe.commands.run.run\n"
        "classes = {each for name, module in list(sys.modules.items()) if name.startswith('batchpipe.')\n"
        "    for each in vars(module).values() if isinstance(each, type) and dataclasses.is_dataclass(each)}\n"
        "made = [each.__qualname__ for each in classes if vars(each)['__init__'].__name__ != 'method']\n"
        "print(len(classes), len(made))"
    )
    ended = python(["-c", code], cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    all_classes, generated = map(int, ended.stdout.split())
    assert all_classes > 100
    assert generated < all_classes / 5, f"{generated} of {all_classes} classes; {sys.version}, {ROOT}"
