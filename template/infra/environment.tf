# What the containers find in their environment. The offline Cloud Run sets the same (e2e/cloudrun/environment.py).
locals {
  # The Telemetry API refuses spans without gcp.project_id.
  resource_attributes = { for name, version in local.versions : name => [
    "gcp.project_id=${var.project_id}",
    "service.namespace=${local.topology.project}",
    "service.version=${version}",
    "deployment.environment.name=${var.environment}",
    "cloud.region=${local.region}",
  ] }

  export = {
    OTEL_EXPORTER_OTLP_PROTOCOL = "http/protobuf"
    TRACERUN_BACKEND            = local.google ? "google" : "other"
    TRACERUN_EXPORT_AUTH        = local.google && !local.sidecar ? "google" : "none"
  }

  # A service chooses in its env: the variable for traces goes before the one for all, an empty one says nothing.
  protocols = { for name, service in local.services : name => coalesce(
    lookup(service.env, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", ""),
    lookup(service.env, "OTEL_EXPORTER_OTLP_PROTOCOL", ""),
    local.export.OTEL_EXPORTER_OTLP_PROTOCOL,
  ) }

  # The collector has a port for each protocol.
  endpoints = { for name, service in local.services : name => (
    !local.sidecar ? (local.google ? "https://telemetry.googleapis.com" : local.topology.backend) :
    local.protocols[name] == "grpc" ? "http://localhost:4317" : "http://localhost:4318"
  ) }

  sampling = {
    OTEL_SDK_DISABLED              = "false"
    OTEL_TRACES_SAMPLER_ARG        = tostring(local.topology.sampling.ratio)
    TRACERUN_KEEP_ERRORS           = tostring(local.topology.sampling.keep_errors)
    TRACERUN_KEEP_SLOWER_THAN_MS   = tostring(local.topology.sampling.keep_slower_than_ms)
    TRACERUN_MAX_TRACES_PER_SECOND = tostring(local.topology.sampling.max_traces_per_second)
    TRACERUN_FLUSH                 = local.topology.billing == "request" ? "on-idle" : "background"
    TRACERUN_FLUSH_DEADLINE_MS     = "500"
  }

  called = toset(flatten([for service in local.services : service.calls]))

  # Who calls these must show an ID token; its audience is the address.
  private_callees = { for name, service in local.services : name => [
    for callee in service.calls : local.urls[callee] if local.services[callee].access == "private"
  ] }

  # Variables from secrets: NAME = secret, or secret:version.
  secrets = { for name, service in local.services : name => merge(
    local.topology.backend_headers_secret == null ? {} : { OTEL_EXPORTER_OTLP_HEADERS = local.topology.backend_headers_secret },
    service.secrets,
  ) }

  # A service's own variables come last: they may override.
  env = { for name, service in local.services : name => { for key, value in merge(
    local.export,
    local.sampling,
    {
      OTEL_EXPORTER_OTLP_ENDPOINT = local.endpoints[name]
      OTEL_SERVICE_NAME           = name
      OTEL_RESOURCE_ATTRIBUTES    = join(",", local.resource_attributes[name])
      TRACERUN_TRUST_CALLERS      = tostring(service.access == "private" && contains(local.called, name))
    },
    { for callee in service.calls : "${upper(replace(callee, "-", "_"))}_URL" => local.urls[callee] },
    length(local.private_callees[name]) == 0 ? {} : { TRACERUN_PRIVATE_CALLEES = join(",", local.private_callees[name]) },
    service.env,
  ) : key => value if !contains(keys(local.secrets[name]), key) } }

  # Under request billing the synchronous config: nothing may wait in the collector when the CPU goes.
  collector_file   = "${coalesce(var.collector_folder, "${path.module}/../collector")}/${local.topology.billing}.yaml"
  collector_config = local.sidecar ? file(local.collector_file) : ""
  collector_env = merge(
    {
      GOOGLE_CLOUD_PROJECT = var.project_id
      OTEL_CONFIG          = local.collector_config
    },
    var.collector_memory_mib == 256 ? {} : { COLLECTOR_MEMORY_MIB = tostring(floor(var.collector_memory_mib * 5 / 8)) },
  )
}
