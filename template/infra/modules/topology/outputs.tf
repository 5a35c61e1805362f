output "topology" {
  description = "topology.yaml with every default filled in, and the protocol of each service. Nothing reads it before these rules hold."
  value = merge(var.topology, {
    services = { for name, service in local.services : name => merge(service, {
      protocol = endswith(service.framework, "-grpc") ? "grpc" : "http"
    }) }
  })

  precondition {
    condition     = length(local.unknown_keys) == 0
    error_message = "topology.yaml: ${join(", ", local.unknown_keys)}: no key here: look it up in topology.schema.json."
  }
  precondition {
    condition     = length(local.empty) == 0
    error_message = "topology.yaml: services: ${join(", ", local.empty)} has no keys: give it a framework, or remove it."
  }
  precondition {
    condition     = length(local.unknown_words) == 0
    error_message = "topology.yaml: ${join(", ", local.unknown_words)}: not allowed: topology.schema.json lists the words."
  }
  precondition {
    condition     = length(local.not_yet) == 0
    error_message = "topology.yaml: ${join(", ", local.not_yet)}: not supported by this version yet: leave it out."
  }
  precondition {
    condition     = can(regex(local.name, var.topology.project))
    error_message = "topology.yaml: project: \"${var.topology.project}\": use 1 to 15 lower-case letters, digits and dashes, a letter first, no dash last."
  }
  precondition {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.topology.region))
    error_message = "topology.yaml: region: \"${var.topology.region}\": use a region of Google Cloud, such as europe-west1."
  }
  precondition {
    condition     = contains(keys(var.topology.services), "api")
    error_message = "topology.yaml: services.api is missing: add the entry service, which is always called api."
  }
  precondition {
    condition     = length(var.topology.services) <= local.properties.services.maxProperties
    error_message = "topology.yaml: services: there are ${length(var.topology.services)}: use ${local.properties.services.maxProperties} at most."
  }
  precondition {
    condition     = length(local.bad_names) == 0
    error_message = "topology.yaml: services: ${join(", ", local.bad_names)}: use 1 to 15 lower-case letters, digits and dashes, a letter first, none of database, db, slow, upstream; PROJECT-SERVICE has at most 30."
  }
  precondition {
    condition     = can(regex("^(google|https?://.+)$", var.topology.backend))
    error_message = "topology.yaml: backend: \"${var.topology.backend}\": use google, or the http(s) URL of an OTLP end point."
  }
  precondition {
    condition     = var.topology.exporter != "sidecar" || !can(regex("^https?://", var.topology.backend))
    error_message = "topology.yaml: backend: \"${var.topology.backend}\": the sidecar sends to Google only: use exporter: direct."
  }
  precondition {
    condition     = var.topology.backend_headers_secret == null || var.topology.backend != "google"
    error_message = "topology.yaml: backend_headers_secret: backend: google needs no headers: leave it out."
  }
  precondition {
    condition     = var.topology.sampling.ratio >= 0 && var.topology.sampling.ratio <= 1
    error_message = "topology.yaml: sampling.ratio: must be between 0 and 1, got ${var.topology.sampling.ratio}."
  }
  precondition {
    condition     = var.topology.sampling.keep_slower_than_ms >= 0 && var.topology.sampling.max_traces_per_second >= 0
    error_message = "topology.yaml: sampling: keep_slower_than_ms and max_traces_per_second must be 0 or more."
  }
  precondition {
    condition     = length(local.bad_calls) == 0
    error_message = "topology.yaml: ${join(", ", local.bad_calls)}: a service calls other services of this file: ${join(", ", local.names)}."
  }
  precondition {
    condition     = length(local.called_twice) == 0
    error_message = "topology.yaml: ${join(", ", local.called_twice)}: name each service once."
  }
  precondition {
    condition     = length(local.unreached) == 0
    error_message = "topology.yaml: services: ${join(", ", local.unreached)}: internal, so nobody could reach it: let a service call it, or use ingress: all."
  }
  precondition {
    condition     = length(local.bad_variables) == 0
    error_message = "topology.yaml: ${join(", ", local.bad_variables)}: use letters, digits and _ for a variable, and none that Cloud Run sets itself (PORT, K_…)."
  }
  precondition {
    condition     = length(local.given_twice) == 0
    error_message = "topology.yaml: ${join(", ", local.given_twice)}: stands in env and in secrets: remove one."
  }
  precondition {
    condition     = length(local.bad_secrets) == 0
    error_message = "topology.yaml: ${join(", ", local.bad_secrets)}: use the name of a secret in this project, or NAME:VERSION."
  }
  precondition {
    condition     = length(local.bad_scaling) == 0
    error_message = "topology.yaml: ${join(", ", local.bad_scaling)}: min_instances must be 0 or more, max_instances at least 1 and min_instances, concurrency from 1 to 1000, all whole numbers."
  }
  precondition {
    condition     = length(local.bad_memory) == 0
    error_message = "topology.yaml: ${join(", ", local.bad_memory)}: 1 CPU takes up to 4Gi, 2 up to 8Gi, 4 from 2Gi to 16Gi, 6 from 4Gi to 24Gi, 8 from 4Gi to 32Gi, and none less than 128Mi."
  }
}
