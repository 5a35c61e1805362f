"""The collector's configs: nothing unused, nothing undefined, nothing that Google's image lacks."""

from __future__ import annotations

import copy
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.project import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOLDER = REPOSITORY / "template" / "collector"
NAMES = ("request", "instance", "local")
SECTIONS = ("receivers", "processors", "exporters", "connectors", "extensions")

# Version 0.156.1: https://github.com/GoogleCloudPlatform/opentelemetry-operations-collector/blob/
# d90c141b19e88544445560ecec52bf3ccb6ff10e/specs/google-built-opentelemetry-collector.yaml
# Its names are those of modules; a component's type is the same but for underscores.
IN_GOOGLES_IMAGE = {
    "receivers": {"fluentforward", "hostmetrics", "jaeger", "otlp", "otlpjsonfile", "prometheus", "statsd", "zipkin"},
    "processors": {
        "attributes",
        "batch",
        "filter",
        "groupbyattrs",
        "groupbytrace",
        "memorylimiter",
        "probabilisticsampler",
        "redaction",
        "resource",
        "resourcedetection",
        "tailsampling",
        "transform",
    },
    "exporters": {"debug", "file", "googlecloud", "googlemanagedprometheus", "nop", "otlp", "otlphttp"},
    "connectors": {"count", "forward", "spanmetrics"},
    "extensions": {
        "filestorage",
        "googleclientauth",
        "headerssetter",
        "healthcheck",
        "healthcheckv2",
        "pprof",
        "zpages",
    },
}

configs = pytest.mark.parametrize("name", NAMES)


def load(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return config


def defined(config: dict[str, Any]) -> set[tuple[str, str]]:
    return {(section, key) for section in SECTIONS for key in config.get(section) or {}}


def used(config: dict[str, Any]) -> set[tuple[str, str]]:
    service = config["service"]
    by_pipelines = {
        (section, key)
        for pipeline in service["pipelines"].values()
        for section in ("receivers", "processors", "exporters")
        for key in pipeline.get(section, [])
    }
    return by_pipelines | {("extensions", key) for key in service.get("extensions", [])}


def problems(config: dict[str, Any]) -> Iterator[str]:
    """What a start of the collector does not tell, or tells only on Google Cloud."""
    for section, key in sorted(defined(config) - used(config)):
        yield f"{section}: {key} is defined and not used"
    for section, key in sorted(used(config) - defined(config)):
        yield f"{section}: {key} is used and not defined"
    for section, key in sorted(defined(config) | used(config)):
        if key.partition("/")[0].replace("_", "") not in IN_GOOGLES_IMAGE[section]:
            yield f"{section}: {key} is not in Google's image"
    for key, exporter in config["exporters"].items():
        authenticator = (exporter or {}).get("auth", {}).get("authenticator")
        if authenticator and ("extensions", authenticator) not in used(config):
            yield f"exporters: {key} authenticates by {authenticator}, which does not run"


def unused(config: dict[str, Any]) -> None:
    config["processors"]["batch/second"] = {}


def undefined(config: dict[str, Any]) -> None:
    config["service"]["pipelines"]["traces"]["processors"].append("filter")


def unused_extension(config: dict[str, Any]) -> None:
    config["service"]["extensions"].remove("googleclientauth")


def absent(config: dict[str, Any]) -> None:
    config["exporters"]["kafka"] = {}
    config["service"]["pipelines"]["traces"]["exporters"].append("kafka")


@configs
def test_every_component_is_defined_used_and_in_googles_image(name: str) -> None:
    assert len(defined(load(name))) >= 5
    assert not list(problems(load(name)))


@pytest.mark.parametrize(
    ("mistake", "found"),
    [
        (unused, ["processors: batch/second is defined and not used"]),
        (undefined, ["processors: filter is used and not defined"]),
        (
            unused_extension,
            [
                "extensions: googleclientauth is defined and not used",
                "exporters: otlp_http authenticates by googleclientauth, which does not run",
            ],
        ),
        (absent, ["exporters: kafka is not in Google's image"]),
    ],
)
def test_the_check_finds_each_mistake(mistake: Callable[[dict[str, Any]], None], found: list[str]) -> None:
    config = copy.deepcopy(load("instance"))
    mistake(config)
    assert list(problems(config)) == found


def test_under_request_billing_nothing_waits_in_the_collector() -> None:
    config = load("request")
    assert not [key for _, key in used(config) if key.startswith(("batch", "group", "tail"))]
    for exporter in config["exporters"].values():
        assert exporter["sending_queue"] == {"enabled": False}
        assert exporter["retry_on_failure"] == {"enabled": False}


def test_under_instance_billing_spans_are_batched_and_wait_for_the_back_end() -> None:
    config = load("instance")
    assert config["processors"]["batch"] == {"send_batch_size": 200, "send_batch_max_size": 200, "timeout": "1s"}
    assert config["service"]["pipelines"]["traces"]["processors"][-1] == "batch"
    for exporter in config["exporters"].values():
        assert exporter.get("sending_queue", {}).get("enabled", True)
        assert exporter["retry_on_failure"].get("enabled", True)


@configs
def test_the_memory_limit_comes_first(name: str) -> None:
    for pipeline in load(name)["service"]["pipelines"].values():
        assert pipeline["processors"][0] == "memory_limiter"


@pytest.mark.parametrize("name", ["request", "instance"])
def test_on_cloud_run_spans_go_signed_to_the_telemetry_api_and_are_taken_from_this_instance_alone(name: str) -> None:
    config = load(name)
    (exporter,) = config["exporters"].values()
    assert exporter["endpoint"] == "${env:EXPORT_ENDPOINT:-https://telemetry.googleapis.com}"
    assert exporter["auth"] == {"authenticator": "googleclientauth"}
    protocols = config["receivers"]["otlp"]["protocols"]
    assert protocols["grpc"]["endpoint"] == "${env:OTLP_GRPC_ENDPOINT:-localhost:4317}"
    assert protocols["http"]["endpoint"] == "${env:OTLP_HTTP_ENDPOINT:-localhost:4318}"


def test_the_local_config_needs_no_google_credentials() -> None:
    assert "google" not in str(load("local")).lower()


def validate(otelcol: Path, config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [otelcol, "validate", "--config", config],
        env={"PATH": os.defpath, "GOOGLE_CLOUD_PROJECT": "a-project"},
        capture_output=True,
        text=True,
        check=False,
    )


@configs
def test_the_collector_accepts_it_as_rendered(project: Path, otelcol: Path, name: str) -> None:
    result = validate(otelcol, project / "collector" / f"{name}.yaml")
    assert result.returncode == 0, result.stdout + result.stderr


@configs
def test_the_collector_refuses_an_unknown_key(project: Path, otelcol: Path, tmp_path: Path, name: str) -> None:
    config = (project / "collector" / f"{name}.yaml").read_text()
    assert "check_interval" in config
    (tmp_path / "config.yaml").write_text(config.replace("check_interval", "check_intervall"))
    result = validate(otelcol, tmp_path / "config.yaml")
    assert result.returncode != 0
    assert "check_intervall" in result.stdout + result.stderr
