"""What the JSON Schema says of topology.yaml, in words."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jsonschema

from cloudrun.errors import TopologyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from cloudrun.yaml_source import YamlSource

_LONGEST_VALUE: Final = 80
_TYPES: Final = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def schema_problems(source: YamlSource, schema_file: Path) -> Iterator[str]:
    """Return one line for each mistake; raises `TopologyError` when the schema itself cannot be read."""
    try:
        schema = json.loads(schema_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TopologyError(f"{schema_file.name}: cannot be read ({error}): restore it from version control") from error
    mistakes = [_Mistake.of(error) for error in _Validator(schema).iter_errors(source.data)]
    for mistake in sorted(mistakes, key=lambda found: source.lines.get(found.path, 0)):
        for path, text in _WORDS.get(mistake.keyword, _other)(mistake):
            yield source.problem(path, text)


def _not_yet(
    _validator: Any, values: list[Any], instance: Any, _schema: Mapping[str, Any]
) -> Iterator[jsonschema.ValidationError]:
    """Refuse what the schema knows but this version does not support: "*" is anything, "x*" any text after x."""
    stems = [value.removesuffix("*") for value in values if isinstance(value, str) and value.endswith("*")]
    if instance in values or (instance and any(str(instance).startswith(stem) for stem in stems)):
        yield jsonschema.ValidationError("not yet")


_extend: Any = jsonschema.validators.extend
_Validator = _extend(jsonschema.Draft202012Validator, {"x-not-yet": _not_yet})

_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class _Mistake:
    keyword: str
    """The keyword of the schema that the value breaks."""
    path: _Path
    found: Any
    asked: Any
    """The keyword's value."""
    schema: Mapping[str, Any]
    message: str

    @classmethod
    def of(cls, error: jsonschema.ValidationError) -> _Mistake:
        schema = error.schema if isinstance(error.schema, dict) else {}
        return cls(
            str(error.validator),
            tuple(error.absolute_path),
            error.instance,
            error.validator_value,
            schema,
            error.message,
        )

    @property
    def text(self) -> str:
        text = json.dumps(self.found, default=str)
        return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]} …"

    @property
    def cure(self) -> str:
        return str(self.schema.get("x-cure", self.message))


def _unsupported(mistake: _Mistake) -> Iterator[tuple[_Path, str]]:
    allowed = [option for option in mistake.schema.get("enum", []) if option not in mistake.asked]
    instead = f"use {_one_of(allowed)}" if allowed else "leave it out"
    yield mistake.path, f"{mistake.text} is not supported by this version yet: {instead}"


def _unknown_key(mistake: _Mistake) -> Iterator[tuple[_Path, str]]:
    known = list(mistake.schema.get("properties", {}))
    for key in mistake.found:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            yield (*mistake.path, key), f"is no key here: {hint}"


def _missing(mistake: _Mistake) -> Iterator[tuple[_Path, str]]:
    for key in mistake.asked:
        if key not in mistake.found:
            meaning = mistake.schema.get("properties", {}).get(key, {}).get("description", "it has no default")
            yield (*mistake.path, key), f"is missing: {mistake.schema.get('x-cure', f'add it ({meaning})')}"


def _not_listed(mistake: _Mistake) -> Iterator[tuple[_Path, str]]:
    refused = mistake.schema.get("x-not-yet", [])
    allowed = [option for option in mistake.asked if option not in refused]
    yield mistake.path, f"{mistake.text} is not allowed: use {_one_of(allowed)}"


def _out_of_bounds(mistake: _Mistake) -> Iterator[tuple[_Path, str]]:
    low, high = mistake.schema.get("minimum"), mistake.schema.get("maximum")
    bounds = f"{low} or more" if high is None else f"between {low} and {high}"
    yield mistake.path, f"must be {bounds}, got {mistake.text}"


def _too_many(mistake: _Mistake) -> Iterator[tuple[_Path, str]]:
    yield mistake.path, f"has {len(mistake.found)} entries, this version supports {mistake.asked}: remove the others"


def _wrong_type(mistake: _Mistake) -> Iterator[tuple[_Path, str]]:
    kinds = [mistake.asked] if isinstance(mistake.asked, str) else mistake.asked
    yield mistake.path, f"must be {_one_of([_TYPES[kind] for kind in kinds])}, got {mistake.text}"


def _other(mistake: _Mistake) -> Iterator[tuple[_Path, str]]:
    yield mistake.path, f"{mistake.text} is not allowed: {mistake.cure}"


_WORDS: Final[dict[str, Callable[[_Mistake], Iterator[tuple[_Path, str]]]]] = {
    "x-not-yet": _unsupported,
    "additionalProperties": _unknown_key,
    "required": _missing,
    "enum": _not_listed,
    "minimum": _out_of_bounds,
    "maximum": _out_of_bounds,
    "maxProperties": _too_many,
    "type": _wrong_type,
}


def _one_of(options: list[Any]) -> str:
    words = [str(option) for option in options]
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
