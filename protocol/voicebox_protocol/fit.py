"""Whether an engine can do what is asked of it. The daemon asks before it accepts, the runner before it lets the engine
near: what cannot be honoured is refused with the nearest name, never dropped.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Iterator
from typing import Any

from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.errors import BadOption, BadRequest
from voicebox_protocol.plain import is_plain
from voicebox_protocol.schema import Say, Synthesize

RATES = (8_000, 192_000)
SPEEDS = (0.25, 4.0)
PITCHES = (0.5, 2.0)
VOLUMES = (0.0, 2.0)
"""The ranges that the runner offers beyond the engine's own: it works on the samples."""

_NAMED = 20
# What is asked for must fit a header again on its way to the provider.
_MOST_OPTIONS = 32_000
_MOST_VALUES = 256
_MOST_COMPARISONS = 20_000
_LONGEST_WHY = 500
_LONGEST_SEARCH_S = 0.1


def check(wish: Say | Synthesize, who: str, able: Capabilities) -> None:
    """Raise `BadRequest` or `BadOption` for the first thing that `able` cannot honour; `who` is the provider's id."""
    check_rate(wish.sample_rate)
    for name, value, between in (
        ("speed", wish.speed, able.speed),
        ("pitch", wish.pitch, able.pitch),
        ("volume", wish.volume, able.volume),
    ):
        _check_factor(name, value, between, who)
    if wish.instruct and not able.instruct:
        raise BadOption(f"{who} takes no instructions (instruct)")
    check_model(wish.model, who, able)
    check_options(wish.options or {}, who, able.options)


def check_model(model: str | None, who: str, able: Capabilities) -> None:
    """Raise `BadOption` for a model that an engine has not."""
    if model is not None and model not in able.models:
        raise BadOption(f"{who} has no model {model!r}{nearest(model, able.models)}")


def check_rate(rate: int | None) -> None:
    """Raise `BadRequest` for a sample rate that nobody would want."""
    if rate is not None and not RATES[0] <= rate <= RATES[1]:
        raise BadRequest(f"sample_rate is {rate}; it takes {RATES[0]} to {RATES[1]} Hz")


def _check_factor(name: str, value: float | None, between: tuple[float, float] | None, who: str) -> None:
    """1 is what the voice does by itself, so every engine can honour it."""
    if value is None or value == 1.0:
        return
    if between is None:
        raise BadOption(f"{who} cannot change the {name}")
    if not between[0] <= value <= between[1]:
        raise BadRequest(f"{name} is {value:g}; {who} takes {between[0]:g} to {between[1]:g}")


def check_options(options: dict[str, Any], who: str, schema: dict[str, Any]) -> None:
    """Raise `BadOption` unless `options` fit the JSON Schema of an engine's capability document."""
    if not options:
        return
    properties = schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    for name in options:
        if name not in known:
            raise BadOption(f"{who} has no option {name!r}{nearest(name, known)}")
    if not is_plain(options):
        # Comparisons would let NaN pass any minimum and maximum.
        raise BadOption(f"{who}: options hold NaN, infinity, bytes, or are nested too deep")
    if len(repr(options)) > _MOST_OPTIONS:
        raise BadOption(f"{who}: options of more than {_MOST_OPTIONS} characters")
    if _size(options) > _MOST_VALUES or _size(options) * _size(schema) > _MOST_COMPARISONS:
        raise BadOption(f"{who}: more options, or a larger schema of them, than can be checked while others wait")
    if _is_boundless(schema):
        raise BadOption(f"{who} describes its options wrongly: $ref, $dynamicRef and patternProperties are not taken")
    import jsonschema
    import referencing

    _patience.renew()
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
        # A registry of its own: a schema that comes from a provider must not make anybody fetch anything.
        _validator()(schema, registry=referencing.Registry()).validate(options)
    except jsonschema.ValidationError as error:
        where = ".".join(str(part) for part in error.absolute_path) or "options"
        raise BadOption(f"{who}: {where}: {error.message}") from None
    except Exception as error:  # somebody else's schema may be wrong in ways that jsonschema does not foresee
        raise BadOption(f"{who} describes its options wrongly: {str(error)[:_LONGEST_WHY]}") from None


def _size(value: Any) -> int:
    """How many values there are in it, itself included."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_size, inner))


class _Patience:
    """What all expressions of one check together may take: each may be slow, and there may be many."""

    def renew(self) -> None:
        self._until = time.monotonic() + _LONGEST_SEARCH_S

    @property
    def left(self) -> float:
        # regex takes no timeout of 0 or less.
        return max(0.001, self._until - time.monotonic())


_patience = _Patience()


def _is_boundless(schema: Any) -> bool:
    """Whether a schema holds what may take for ever: references can double at each step, and so can expressions."""
    if isinstance(schema, dict):
        return (
            isinstance(schema.get("$ref"), str)
            or isinstance(schema.get("$dynamicRef"), str)
            or isinstance(schema.get("patternProperties"), dict)
            or any(_is_boundless(part) for part in schema.values())
        )
    return isinstance(schema, list) and any(_is_boundless(part) for part in schema)


@functools.cache
def _validator() -> Any:
    """jsonschema's, but for `pattern`: an expression that comes from a provider gets a bounded time."""
    import jsonschema
    import regex

    def pattern(_: Any, expression: Any, value: Any, __: Any) -> Iterator[Exception]:
        if isinstance(value, str) and not regex.search(expression, value, timeout=_patience.left):
            yield jsonschema.ValidationError(f"{value!r} does not match {expression!r}")

    extend: Any = jsonschema.validators.extend
    return extend(jsonschema.Draft202012Validator, {"pattern": pattern})


def nearest(wanted: str, known: Collection[str]) -> str:
    """How to go on after "there is no such thing": the nearest name, else what there is."""
    import difflib

    close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(sorted(known)[:_NAMED])}" if known else "; it has none"
