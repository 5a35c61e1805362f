"""Every imitated rule has a source and code that imitates it; a rule without a source is refused."""

from __future__ import annotations

import cloudrun.system  # noqa: F401 (loads all that imitates)
import pytest
from cloudrun import rules
from cloudrun.rules import IMITATED, Rule, imitates


@pytest.mark.parametrize("source", ["", "I think so", "http://example.com"])
def test_a_rule_without_a_source_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="cites no source"):
        Rule("the platform does this", source)


def test_code_that_imitates_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one rule"):
        imitates()


def test_every_rule_is_imitated_by_some_code() -> None:
    written = {value for value in vars(rules).values() if isinstance(value, Rule)}
    assert written
    assert written == set(IMITATED)
