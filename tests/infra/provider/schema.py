"""The google provider's own schema, read from the bindings that CDK Terrain generates of it.

The bindings are JavaScript: one class for each resource and for each block, whose getters and setters carry names and
types, and whose comments tell what is computed, optional and required. Of blocks the comments say nothing: one without
a setter is computed, one without a `reset` method is required.

`python schema.py BINDINGS.jsii.tgz SCHEMA.json` writes the types that `TYPES` lists.
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from pathlib import Path
from typing import Any, Final

TYPES: Final = (
    "provider",
    "artifact-registry-repository",
    "cloud-run-v2-service",
    "cloud-run-v2-service-iam-member",
    "compute-network",
    "compute-subnetwork",
    "data-google-cloud-run-v2-service",
    "data-google-project",
    "dns-managed-zone",
    "dns-record-set",
    "project-iam-member",
    "project-service",
    "secret-manager-secret-iam-member",
    "service-account",
    "storage-bucket",
)
"""Folders of the bindings. A type that is missing here is unknown to the stand-in, as a misspelt one is."""

_SIMPLE: Final[dict[str, Any]] = {
    "String": "string",
    "Boolean": "bool",
    "Number": "number",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
    "BooleanMap": ["map", "bool"],
    "NumberMap": ["map", "number"],
    "AnyMap": ["map", "string"],
    "Any": "dynamic",
}
_OF_PROVIDER: Final[dict[str, Any]] = {
    "string": "string",
    "boolean": "bool",
    "number": "number",
    "stringList": ["list", "string"],
    "stringMap": ["map", "string"],
}
_CLASS: Final = re.compile(r"^class (\w+) extends (?:cdkt[fn]|[\w.]+?)\.(\w+) \{$(.*?)^\}$", re.DOTALL | re.MULTILINE)
_GETTER: Final = re.compile(r"^    get (\w+)\(\) \{\s*return (.*?);\s*\}", re.DOTALL | re.MULTILINE)
_ATTRIBUTE: Final = re.compile(
    r"(?:cdkt[fn]\.Fn\.tolist\()?(?:cdkt[fn]\.Token\.as\w+\()?this\.get(\w+?)Attribute\('([a-z0-9_]+)'\)\)?\)?"
)
_INTERPOLATION: Final = re.compile(r"interpolationForAttribute\('([a-z0-9_]+)'\)")
_NESTED: Final = re.compile(
    r'(?:this\.|^    )_(\w+) = new ([\w.]+)\(this, "([a-z0-9_]+)"(?:, (true|false))?', re.MULTILINE
)
_FLAGS: Final = re.compile(
    r"^ *// (\w+) - computed: (true|false), optional: (true|false), required: (true|false)$", re.MULTILINE
)
_VERSION: Final = re.compile(r"providerVersion: '([^']+)'")

_LIBRARY: Final = ("cdktf.", "cdktn.")

Block = dict[str, Any]


class Bindings:
    """The classes of one resource."""

    def __init__(self, source: str) -> None:
        self._classes = {found[1]: (found[2], found[3]) for found in _CLASS.finditer(source)}
        self.name, self.kind, self.body = next(
            (name, kind, body)
            for name, (kind, body) in self._classes.items()
            if kind in {"TerraformResource", "TerraformDataSource", "TerraformProvider"}
        )

    def block(self, name: str | None = None) -> Block:
        """Return the block that the class `name` describes; None: the resource's own."""
        body = self._classes[name or self.name][1]
        flags = {
            found[1]: {
                key: True for key, value in zip(("computed", "optional", "required"), found.groups()[1:], strict=True)
                if value == "true"
            }
            for found in _FLAGS.finditer(body)
        }  # fmt: skip
        attributes: dict[str, Any] = {}
        blocks: dict[str, Any] = {}
        for getter, kind, key in self._simple(body):
            attributes[key] = {"type": kind, **flags.get(key, self._settable(body, getter))}
        for getter, kind, key, is_set in _NESTED.findall(body):
            settable = self._settable(body, getter)
            inner = f"{kind[:-4]}OutputReference" if kind.endswith("List") else kind
            nesting = "set" if is_set == "true" else "list"
            if kind.startswith(_LIBRARY):
                attributes[key] = {"type": self._map(kind.split(".")[1]), **settable}
            elif "computed" in settable:
                attributes[key] = {"type": [nesting, self._object(inner)], "computed": True}
            else:
                blocks[key] = {"nesting_mode": nesting, "block": self.block(inner)}
                if key == "timeouts":
                    blocks[key]["nesting_mode"] = "single"
                elif not kind.endswith("List"):
                    blocks[key]["max_items"] = 1
                if "required" in settable:
                    blocks[key]["min_items"] = 1
        return {"attributes": attributes, "block_types": blocks}

    def _object(self, name: str) -> list[Any]:
        body = self._classes[name][1]
        fields: dict[str, Any] = {key: kind for _, kind, key in self._simple(body)}
        for _, kind, key, is_set in _NESTED.findall(body):
            inner = kind.removesuffix("List").removesuffix("OutputReference")
            fields[key] = (
                self._map(kind.split(".")[1])
                if kind.startswith(_LIBRARY)
                else ["set" if is_set == "true" else "list", self._object(f"{inner}OutputReference")]
            )
        return ["object", fields]

    @staticmethod
    def _simple(body: str) -> list[tuple[str, Any, str]]:
        found: list[tuple[str, Any, str]] = []
        for getter, expression in _GETTER.findall(body):
            if matched := _ATTRIBUTE.fullmatch(expression):
                kind = _SIMPLE[matched[1]]
                is_set = matched[1] == "List" and "Fn.tolist" in expression
                found.append((getter, ["set", "string"] if is_set else kind, matched[2]))
            elif matched := _INTERPOLATION.search(expression):
                found.append((getter, "dynamic", matched[1]))
        return found

    @staticmethod
    def _map(kind: str) -> list[Any]:
        return ["list", ["map", "string"]] if kind == "StringMapList" else _SIMPLE[kind]

    @staticmethod
    def _settable(body: str, getter: str) -> dict[str, bool]:
        capital = getter[0].upper() + getter[1:]
        if not re.search(rf"^    (set {getter}\(value\)|put{capital}\(value\))", body, re.MULTILINE):
            return {"computed": True}
        optional = re.search(rf"^    reset{capital}\(\)", body, re.MULTILINE)
        return {"optional": True} if optional else {"required": True}


def provider_block(body: str) -> Block:
    """Return the block `provider "google" {}`: only its simple attributes, which are all optional."""
    table = re.search(r"synthesizeHclAttributes\(\) \{(.*?)^    \}", body, re.DOTALL | re.MULTILINE)
    if table is None:
        raise SystemExit("the bindings do not list the provider's attributes")
    entries = re.findall(
        r'^            (\w+): \{\s*value: .*?,\s*isBlock: (true|false),\s*type: "\w+",\s*storageClassType: "(\w+)"',
        table[1],
        re.DOTALL | re.MULTILINE,
    )
    attributes = {
        name: {"type": _OF_PROVIDER[kind], "optional": True}
        for name, is_block, kind in entries
        if is_block == "false" and name != "alias"
    }
    return {"attributes": attributes, "block_types": {}}


def read(archive: Path) -> dict[str, Any]:
    """Return the schemas of `TYPES`, and the provider's version, from the bindings in `archive`."""
    schema: dict[str, Any] = {"resource": {}, "data": {}}
    with tarfile.open(archive) as bindings:
        wanted = {f"package/lib/{name}/index.js": name for name in TYPES}
        for member in bindings:
            if member.name not in wanted:
                continue
            file = bindings.extractfile(member)
            source = file.read().decode() if file else ""
            del wanted[member.name]
            found = Bindings(source)
            version = _VERSION.search(source)
            schema["version"] = version[1] if version else "unknown"
            if found.kind == "TerraformProvider":
                schema["provider"] = provider_block(found.body)
                continue
            name = re.search(r"terraformResourceType: '(\w+)'", found.body)
            block = found.block()
            block["attributes"]["id"] = {"type": "string", "optional": True, "computed": True}
            schema["resource" if found.kind == "TerraformResource" else "data"][name[1] if name else "?"] = block
    if wanted:
        raise SystemExit(f"{archive.name} has no {', '.join(wanted.values())}")
    return schema


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(read(Path(sys.argv[1])), indent=1, sort_keys=True), encoding="utf-8")
