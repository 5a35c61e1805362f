from __future__ import annotations

import pytest

from tracerun.settings import Settings


def test_nothing_set_gives_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()
    assert Settings.from_environment({"OTEL_TRACES_SAMPLER_ARG": ""}) == Settings()


def test_every_setting_is_read() -> None:
    assert Settings.from_environment(
        {
            "OTEL_SDK_DISABLED": "True",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
            "TRACERUN_TRUST_CALLERS": "true",
            "TRACERUN_KEEP_ERRORS": "false",
            "TRACERUN_KEEP_SLOWER_THAN_MS": "2500",
            "TRACERUN_MAX_TRACES_PER_SECOND": "7.5",
            "TRACERUN_BACKEND": "other",
            "TRACERUN_FLUSH": "background",
            "TRACERUN_FLUSH_DEADLINE_MS": "250",
            "TRACERUN_EXPORT_AUTH": "google",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "TRACERUN_PRIVATE_CALLEES": " https://a.run.app,https://b.run.app ,",
        }
    ) == Settings(
        disabled=True,
        keep_errors=False,
        keep_slower_than=2.5,
        max_traces_per_second=7.5,
        ratio=0.25,
        trust_callers=True,
        google_backend=False,
        on_idle=False,
        flush_deadline=0.25,
        sign_exports=True,
        grpc=True,
        private_callees=("https://a.run.app", "https://b.run.app"),
    )


def test_the_protocol_for_traces_goes_before_the_one_for_all() -> None:
    both = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert not Settings.from_environment(both).grpc
    assert Settings.from_environment({**both, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": ""}).grpc


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_SAMPLER_ARG", "7"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_SAMPLER_ARG", "a tenth"),
        ("TRACERUN_TRUST_CALLERS", "yes"),
        ("TRACERUN_BACKEND", "Google"),
        ("TRACERUN_KEEP_ERRORS", "0"),
        ("TRACERUN_KEEP_SLOWER_THAN_MS", "1s"),
        ("TRACERUN_MAX_TRACES_PER_SECOND", "inf"),
        ("TRACERUN_FLUSH", "never"),
        ("TRACERUN_FLUSH_DEADLINE_MS", "-1"),
        ("OTEL_SDK_DISABLED", "1"),
        ("TRACERUN_EXPORT_AUTH", "gcp"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "GRPC"),
    ],
)
def test_a_wrong_value_is_one_warning_and_the_default(name: str, value: str, caplog: pytest.LogCaptureFixture) -> None:
    assert Settings.from_environment({name: value}) == Settings()
    (record,) = caplog.records
    assert name in record.getMessage()
    assert repr(value) in record.getMessage()
