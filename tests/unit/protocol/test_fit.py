"""Whether a wish fits an engine: a schema that comes from a provider costs a bounded time, or it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from voicebox_protocol import fit
from voicebox_protocol.errors import BadOption

BOUNDLESS = r"odd describes its options wrongly: \$ref, \$dynamicRef and patternProperties are not taken"


def taking(schema: object) -> dict[str, Any]:
    """A document's options: one called `a`."""
    return {"properties": {"a": schema}}


def doubling(depth: int, keyword: str) -> dict[str, Any]:
    """Each definition names the next one twice, so that a walk takes 2^depth steps."""
    steps = {f"d{n}": {"allOf": 2 * [{keyword: f"#/$defs/d{n + 1}"}]} for n in range(depth)}
    return {**taking({keyword: "#/$defs/d0"}), "$defs": {**steps, f"d{depth}": {"type": "number"}}}


@pytest.mark.parametrize(
    "schema",
    [
        taking({"$ref": "#/properties/a"}),
        taking({"$ref": "https://example.org/schema.json"}),
        taking({"$dynamicRef": "#here"}),
        taking({"patternProperties": {"^x": {}}}),
        taking({"type": "array", "items": {"anyOf": [{"type": "number"}, {"not": {"$ref": "#/$defs/b"}}]}}),
        {**taking({}), "patternProperties": {"(a|a)*b": {"type": "number"}}},
        {**taking({}), "$defs": {"b": {"$dynamicRef": "#/$defs/b"}}},
        {**taking({}), "allOf": [{}, {"dependentSchemas": {"a": {"patternProperties": {}}}}]},
        doubling(60, "$ref"),
        doubling(60, "$dynamicRef"),
    ],
    ids=lambda schema: repr(schema)[:60],
)
@pytest.mark.timeout(30)
def test_a_schema_whose_cost_has_no_bound_is_refused_with_what_it_must_not_hold(schema: dict[str, Any]) -> None:
    """Sixty definitions that each name the next one twice would keep the daemon busy for ever."""
    with pytest.raises(BadOption, match=BOUNDLESS):
        fit.check_options({"a": 1}, "odd", schema)


def test_what_must_not_be_in_a_schema_may_be_in_the_options() -> None:
    fit.check_options({"a": {"$ref": "#/", "patternProperties": {}}}, "mine", taking({"type": "object"}))


CATASTROPHES = [r"^(a|a)*$", r"^(a|aa)+$", r"^(\w|[a-z])*$"]


@pytest.mark.parametrize("expression", CATASTROPHES)
@pytest.mark.timeout(30)
def test_a_pattern_has_a_bounded_time(expression: str) -> None:
    """An expression that tries every way to read sixty letters would keep the daemon busy for ever."""
    with pytest.raises(BadOption, match="odd describes its options wrongly: regex timed out"):
        fit.check_options({"a": "a" * 60 + "!"}, "odd", taking({"pattern": expression}))


@pytest.mark.parametrize("expression", CATASTROPHES)
def test_a_pattern_that_could_take_long_works_where_it_does_not(expression: str) -> None:
    fit.check_options({"a": "aa"}, "odd", taking({"pattern": expression}))


def test_a_pattern_says_what_does_not_match() -> None:
    fit.check_options({"a": "warm"}, "mine", taking({"pattern": "^(warm|cold)$"}))
    with pytest.raises(BadOption, match=r"mine: a: 'hot' does not match"):
        fit.check_options({"a": "hot"}, "mine", taking({"pattern": "^(warm|cold)$"}))
    with pytest.raises(BadOption, match=r"mine describes its options wrongly"):
        fit.check_options({"a": "hot"}, "mine", taking({"pattern": "("}))
