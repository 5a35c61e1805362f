"""A stand-in for registry.terraform.io/hashicorp/google: the genuine schema, and no API behind it.

`python server.py SCHEMA.json` prints the value of TF_REATTACH_PROVIDERS and serves until it is ended. Validation, plan,
apply and destroy are Terraform's own; the provider's part is imitated so far: computed values are unknown in a plan and
made up when applied, project and account e-mail are derived, two defaults are applied. Not imitated: enum values,
attributes that exclude each other, and whatever the API itself refuses.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import msgpack
from tf.gen import grpc_controller_pb2 as controller
from tf.gen import grpc_controller_pb2_grpc as controller_rpc
from tf.gen import grpc_stdio_pb2_grpc as stdio_rpc
from tf.gen import tfplugin_pb2 as plugin
from tf.gen import tfplugin_pb2_grpc as rpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNKNOWN: Final = msgpack.ExtType(0, b"\x00")
DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "google_cloud_run_v2_service": {"deletion_protection": True},
}
"""Defaults of the provider that are not in its schema and that our files rely on."""
NESTING: Final = {
    "single": plugin.Schema.NestedBlock.SINGLE,
    "list": plugin.Schema.NestedBlock.LIST,
    "set": plugin.Schema.NestedBlock.SET,
}
LARGEST: Final = 64 << 20

Value = dict[str, Any]


def to_block(block: Value) -> Any:
    message = plugin.Schema.Block(version=0)
    for name, attribute in sorted(block["attributes"].items()):
        flags = {flag: attribute.get(flag, False) for flag in ("required", "optional", "computed")}
        message.attributes.append(
            plugin.Schema.Attribute(name=name, type=json.dumps(attribute["type"]).encode(), **flags)
        )
    for name, nested in sorted(block["block_types"].items()):
        message.block_types.append(
            plugin.Schema.NestedBlock(
                type_name=name,
                block=to_block(nested["block"]),
                nesting=NESTING[nested["nesting_mode"]],
                min_items=nested.get("min_items", 0),
                max_items=nested.get("max_items", 0),
            )
        )
    return message


def to_schema(block: Value) -> Any:
    return plugin.Schema(version=0, block=to_block(block))


def decode(value: Any) -> Any:
    if value.json:
        return json.loads(value.json)
    return msgpack.unpackb(value.msgpack, raw=False, strict_map_key=False) if value.msgpack else None


def encode(value: Any) -> Any:
    return plugin.DynamicValue(msgpack=msgpack.packb(value, use_bin_type=True))


def fill(block: Value, value: Any, change: Callable[[str, Value, Any], Any]) -> Any:
    """Apply `change` to every attribute of `value`, in nested blocks too."""
    if value is None or isinstance(value, msgpack.ExtType):
        return value
    for name, attribute in block["attributes"].items():
        value[name] = change(name, attribute, value.get(name))
    for name, nested in block["block_types"].items():
        inner = value.get(name)
        if isinstance(inner, list):
            value[name] = [fill(nested["block"], item, change) for item in inner]
        elif isinstance(inner, dict):
            value[name] = fill(nested["block"], inner, change)
    return value


def unknown_if_computed(_name: str, attribute: Value, value: Any) -> Any:
    return UNKNOWN if value is None and attribute.get("computed") else value


class Provider(rpc.ProviderServicer):
    def __init__(self, schema: Value) -> None:
        self._schema = schema
        self._project: str | None = None

    def _made_up(self, name: str, attribute: Value, value: Any) -> Any:
        if not isinstance(value, msgpack.ExtType):
            return value
        if name == "project" and self._project:
            return self._project
        kind = attribute["type"]
        if isinstance(kind, str):
            return {"string": f"made-up-{name}", "number": 1, "bool": False}.get(kind)
        return {} if kind[0] == "map" else []

    def GetMetadata(self, _request: Any, _context: Any) -> Any:
        return plugin.GetMetadata.Response(
            server_capabilities=plugin.ServerCapabilities(get_provider_schema_optional=False),
            resources=[plugin.GetMetadata.ResourceMetadata(type_name=name) for name in self._schema["resource"]],
            data_sources=[plugin.GetMetadata.DataSourceMetadata(type_name=name) for name in self._schema["data"]],
        )

    def GetProviderSchema(self, _request: Any, _context: Any) -> Any:
        return plugin.GetProviderSchema.Response(
            provider=to_schema(self._schema["provider"]),
            resource_schemas={name: to_schema(block) for name, block in self._schema["resource"].items()},
            data_source_schemas={name: to_schema(block) for name, block in self._schema["data"].items()},
        )

    def ValidateProviderConfig(self, _request: Any, _context: Any) -> Any:
        return plugin.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, _request: Any, _context: Any) -> Any:
        return plugin.ValidateResourceConfig.Response()

    def ValidateDataResourceConfig(self, _request: Any, _context: Any) -> Any:
        return plugin.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request: Any, _context: Any) -> Any:
        self._project = (decode(request.config) or {}).get("project")
        return plugin.ConfigureProvider.Response()

    def UpgradeResourceState(self, request: Any, _context: Any) -> Any:
        return plugin.UpgradeResourceState.Response(upgraded_state=encode(json.loads(request.raw_state.json)))

    def ReadResource(self, request: Any, _context: Any) -> Any:
        return plugin.ReadResource.Response(new_state=request.current_state)

    def PlanResourceChange(self, request: Any, _context: Any) -> Any:
        value = decode(request.proposed_new_state)
        if value is None:
            return plugin.PlanResourceChange.Response(planned_state=request.proposed_new_state)
        for name, default in DEFAULTS.get(request.type_name, {}).items():
            if value.get(name) is None:
                value[name] = default
        project = value.get("project") or self._project
        if request.type_name == "google_service_account" and isinstance(project, str):
            value["email"] = f"{value['account_id']}@{project}.iam.gserviceaccount.com"
            value["member"] = f"serviceAccount:{value['email']}"
        filled = fill(self._schema["resource"][request.type_name], value, unknown_if_computed)
        return plugin.PlanResourceChange.Response(planned_state=encode(filled), legacy_type_system=True)

    def ApplyResourceChange(self, request: Any, _context: Any) -> Any:
        value = decode(request.planned_state)
        if value is None:
            return plugin.ApplyResourceChange.Response(new_state=request.planned_state)
        filled = fill(self._schema["resource"][request.type_name], value, self._made_up)
        return plugin.ApplyResourceChange.Response(new_state=encode(filled), legacy_type_system=True)

    def ReadDataSource(self, request: Any, _context: Any) -> Any:
        block = self._schema["data"][request.type_name]
        value = fill(block, fill(block, decode(request.config), unknown_if_computed), self._made_up)
        if request.type_name == "google_project":
            value["number"] = "123456789012"
        return plugin.ReadDataSource.Response(state=encode(value))

    def GetFunctions(self, _request: Any, _context: Any) -> Any:
        return plugin.GetFunctions.Response()

    def StopProvider(self, _request: Any, _context: Any) -> Any:
        return plugin.StopProvider.Response()


class Controller(controller_rpc.GRPCControllerServicer):
    def Shutdown(self, _request: Any, _context: Any) -> Any:
        return controller.Empty()


class Output(stdio_rpc.GRPCStdioServicer):
    def StreamStdio(self, _request: Any, _context: Any) -> Iterator[Any]:
        return iter([])


def main() -> None:
    schema = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sizes = [("grpc.max_send_message_length", LARGEST), ("grpc.max_receive_message_length", LARGEST)]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=sizes)
    rpc.add_ProviderServicer_to_server(Provider(schema), server)
    controller_rpc.add_GRPCControllerServicer_to_server(Controller(), server)
    stdio_rpc.add_GRPCStdioServicer_to_server(Output(), server)
    signal.signal(signal.SIGTERM, lambda _number, _frame: server.stop(0))
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/provider.sock"
        server.add_insecure_port(f"unix://{socket}")
        server.start()
        attach = {
            "Protocol": "grpc",
            "ProtocolVersion": 6,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "unix", "String": socket},
        }
        names = ("registry.terraform.io/hashicorp/google", "registry.opentofu.org/hashicorp/google")
        sys.stdout.write(json.dumps(dict.fromkeys(names, attach)) + "\n")
        sys.stdout.flush()
        server.wait_for_termination()


if __name__ == "__main__":
    main()
