"""A decorator for dataclasses that generates their methods when the first instance is made.

`dataclasses.dataclass` compiles six functions for each class while a module is imported, about half a millisecond.
A command imports some hundreds of such classes and makes instances of a few. A class of this decorator behaves as one
of the standard library's; type checkers see that one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

GENERATED = ("__init__", "__repr__", "__eq__", "__hash__")


def _lazy_dataclass(
    cls: type | None = None, *, frozen: bool = False, slots: bool = False, kw_only: bool = False
) -> Any:
    """Return `cls` as a dataclass; without `cls` return a decorator that does so."""
    if cls is None:
        return lambda each: _lazy_dataclass(each, frozen=frozen, slots=slots, kw_only=kw_only)
    if any(dataclasses.is_dataclass(base) for base in cls.__bases__):
        return dataclasses.dataclass(frozen=frozen, slots=slots, kw_only=kw_only)(cls)
    # What the class says of its fields. The decorator takes the defaults away from it.
    said = {name: vars(cls)[name] for name in (*cls.__annotations__, "__post_init__") if name in vars(cls)}
    said |= {"__annotations__": cls.__annotations__, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    names = [name for name in GENERATED if vars(cls).get(name) is None]
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(cls)

    def generate() -> None:
        """Take the methods over from a class of the standard library that has the same fields."""
        plain = type(cls.__name__, (), dict(said))
        model: type = dataclasses.dataclass(frozen=frozen, slots=slots, kw_only=kw_only)(plain)
        for name in names:
            setattr(made, name, vars(model)[name])

    for name in names:
        setattr(made, name, _generated_later(made, name, generate))
    if frozen:
        made.__setattr__, made.__delattr__ = _refuse_to_set, _refuse_to_delete
        made.__getstate__, made.__setstate__ = _state, _set_state
        # The standard library asks for this where another dataclass inherits from this one.
        made.__dataclass_params__.frozen = True
    return made


def _generated_later(made: type, name: str, generate: Callable[[], None]) -> Callable[..., Any]:
    """Return a method that has all methods generated, and then does what the one of this name does."""

    def method(*arguments: Any, **options: Any) -> Any:
        generate()
        return getattr(made, name)(*arguments, **options)

    return method


def _refuse_to_set(_: object, name: str, __: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(instance: Any) -> list[Any]:
    """Return the values of the fields, for a copy of the instance."""
    return [getattr(instance, each.name) for each in dataclasses.fields(instance)]


def _set_state(instance: Any, state: list[Any]) -> None:
    for each, value in zip(dataclasses.fields(instance), state, strict=True):
        object.__setattr__(instance, each.name, value)


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = _lazy_dataclass
