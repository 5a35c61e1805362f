from __future__ import annotations

from typing import Any

import pytest
from vectors import vectors

from tracerun.http_names import known_method, span_name


@pytest.mark.parametrize("case", vectors("names")["server"], ids=lambda case: case["name"])
def test_span_names_are_the_same_in_every_language(case: dict[str, Any]) -> None:
    method = known_method(case["method"])
    assert method == case["attribute"]
    assert span_name(method, case["route"]) == case["name"]
