# What topologies of every kind become. Asserts are on plain values: Terraform 1.15 cannot print lists of containers.
variables {
  project_id     = "offline-project"
  project_number = "123456789012"

  collector_folder = "tests/fixtures/collector"
}

mock_provider "google" {
  mock_data "google_cloud_run_v2_service" {
    defaults = {
      template = [{ containers = [
        { name = "collector", image = "example.pkg.dev/offline/otelcol:0.156.1" },
        { name = "app", image = "example.pkg.dev/offline/app:1.2.3" },
      ] }]
    }
  }
}

run "the_least_topology" {
  command = plan
  variables { topology_file = "tests/fixtures/single.yaml" }

  assert {
    condition     = local.names["api"] == "a-api"
    error_message = "a service is called PROJECT-SERVICE, got ${local.names["api"]}"
  }
  assert {
    condition     = google_service_account.service["api"].account_id == "a-api-run"
    error_message = "an account's id has at least 6 characters, got ${google_service_account.service["api"].account_id}"
  }
  assert {
    condition     = length(google_compute_network.egress) + length(google_secret_manager_secret_iam_member.reader) == 0
    error_message = "nothing is made that nobody asked for"
  }
  assert {
    condition     = join(" ", local.apis) == "artifactregistry.googleapis.com cloudresourcemanager.googleapis.com iam.googleapis.com run.googleapis.com cloudtrace.googleapis.com telemetry.googleapis.com"
    error_message = "enabled are ${join(" ", local.apis)}"
  }
  assert {
    condition     = join(" ", keys(google_cloud_run_v2_service_iam_member.caller)) == "api allUsers"
    error_message = "callers are ${join(", ", keys(google_cloud_run_v2_service_iam_member.caller))}"
  }
  assert {
    condition     = local.collector_config == file("tests/fixtures/collector/request.yaml")
    error_message = "request billing needs the synchronous config"
  }
}

run "services_are_protected_unless_somebody_says_otherwise" {
  command = plan
  variables { topology_file = "tests/fixtures/single.yaml" }

  assert {
    condition     = google_cloud_run_v2_service.service["api"].deletion_protection
    error_message = "deletion_protection is false by default"
  }
}

run "an_image_that_is_not_named_stays_what_is_deployed" {
  command = plan
  variables { topology_file = "tests/fixtures/single.yaml" }

  assert {
    condition     = local.images["api"] == "example.pkg.dev/offline/app:1.2.3" && local.versions["api"] == "1.2.3"
    error_message = "the image is ${local.images["api"]}, the version ${local.versions["api"]}"
  }
}

run "an_image_that_is_named_is_deployed" {
  command = plan
  variables {
    topology_file = "tests/fixtures/single.yaml"
    images        = { api = "localhost:5000/api@sha256:0123456789ab0123456789ab0123456789ab0123456789ab0123456789abcdef" }
  }

  assert {
    condition     = endswith(local.images["api"], "abcdef") && local.versions["api"] == "0123456789ab"
    error_message = "the image is ${local.images["api"]}, the version ${local.versions["api"]}"
  }
}

run "many_services" {
  command = plan
  variables { topology_file = "tests/fixtures/many.yaml" }

  assert {
    condition     = join(", ", sort(keys(google_cloud_run_v2_service_iam_member.caller))) == "api allUsers, price-list stock, stock api, stock price-list"
    error_message = "callers are ${join(", ", sort(keys(google_cloud_run_v2_service_iam_member.caller)))}"
  }
  assert {
    condition     = local.env["api"].STOCK_URL == "https://shop-stock-123456789012.us-east4.run.app" && local.env["stock"].PRICE_LIST_URL == "https://shop-price-list-123456789012.us-east4.run.app"
    error_message = "addresses are ${jsonencode(local.urls)}"
  }
  assert {
    condition     = join(" ", [for name in ["api", "audit", "price-list", "stock"] : local.env[name].TRACERUN_TRUST_CALLERS]) == "false false true true"
    error_message = "only private services that others call trust their callers"
  }
  assert {
    condition     = join(" ", sort(keys(local.egress))) == "api price-list" && alltrue([for way in local.egress : way.egress == "PRIVATE_RANGES_ONLY"])
    error_message = "callers of internal services reach them through the network, and nothing else: ${jsonencode(local.egress)}"
  }
  assert {
    condition     = local.env["api"].OTEL_SDK_DISABLED == "true" && local.env["stock"].OTEL_SDK_DISABLED == "false"
    error_message = "a service's own variables come last"
  }
  assert {
    condition     = join(" ", keys(google_secret_manager_secret_iam_member.reader)) == "api partner-key api signing"
    error_message = "readers of secrets are ${join(", ", keys(google_secret_manager_secret_iam_member.reader))}"
  }
  assert {
    condition     = join(" ", [for key in ["OTEL_TRACES_SAMPLER_ARG", "TRACERUN_KEEP_ERRORS", "TRACERUN_KEEP_SLOWER_THAN_MS", "TRACERUN_MAX_TRACES_PER_SECOND", "TRACERUN_FLUSH"] : local.env["audit"][key]]) == "0.25 false 750 2000000 background"
    error_message = "sampling and flushing: ${jsonencode(local.sampling)}"
  }
  assert {
    condition     = local.collector_config == file("tests/fixtures/collector/instance.yaml")
    error_message = "instance billing has its own config"
  }
  assert {
    condition     = contains(local.apis, "compute.googleapis.com") && contains(local.apis, "dns.googleapis.com") && contains(local.apis, "secretmanager.googleapis.com")
    error_message = "enabled are ${join(" ", local.apis)}"
  }
  assert {
    condition     = join(" ", [for name, service in local.services : service.protocol]) == "http http http grpc"
    error_message = "protocols are ${join(" ", [for name, service in local.services : "${name}=${service.protocol}"])}"
  }
}

run "the_collector_is_reached_by_the_protocol_that_a_service_speaks" {
  command = plan
  variables { topology_file = "tests/fixtures/many.yaml" }

  assert {
    condition     = join(" ", [for name in ["api", "audit", "price-list", "stock"] : trimprefix(local.env[name].OTEL_EXPORTER_OTLP_ENDPOINT, "http://localhost:")]) == "4318 4317 4318 4317"
    error_message = "addresses are ${jsonencode(local.endpoints)}"
  }
}

run "direct_to_google" {
  command = plan
  variables { topology_file = "tests/fixtures/direct.yaml" }

  assert {
    condition     = local.env["api"].OTEL_EXPORTER_OTLP_ENDPOINT == "https://telemetry.googleapis.com" && local.env["api"].TRACERUN_EXPORT_AUTH == "google"
    error_message = "exports ${jsonencode(local.env["api"])}"
  }
  assert {
    condition     = join(" ", keys(google_project_iam_member.traces)) == "api" && length(google_cloud_run_v2_service_iam_member.caller) == 0
    error_message = "a private service writes traces and is called by nobody"
  }
}

run "direct_to_another_back_end" {
  command = plan
  variables { topology_file = "tests/fixtures/other.yaml" }

  assert {
    condition     = local.env["api"].OTEL_EXPORTER_OTLP_ENDPOINT == "https://otlp.example:4318" && local.env["api"].TRACERUN_EXPORT_AUTH == "none" && local.env["api"].TRACERUN_BACKEND == "other"
    error_message = "exports ${jsonencode(local.env["api"])}"
  }
  assert {
    condition     = local.secrets["api"].OTEL_EXPORTER_OTLP_HEADERS == "otlp-headers" && join(" ", keys(google_secret_manager_secret_iam_member.reader)) == "api otlp-headers"
    error_message = "headers come from a secret that the service may read"
  }
  assert {
    condition     = length(google_project_iam_member.traces) == 0
    error_message = "no right to write traces where none are written"
  }
}

run "all_users_can_be_done_without" {
  command = plan
  variables {
    topology_file = "tests/fixtures/single.yaml"
    public_access = "unchecked"
  }

  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.caller) == 0
    error_message = "callers are ${join(", ", keys(google_cloud_run_v2_service_iam_member.caller))}"
  }
}

run "a_canary_takes_the_rest" {
  command = plan
  variables {
    topology_file = "tests/fixtures/single.yaml"
    traffic       = { api = { a-api-00041-abc = 90 } }
  }

  assert {
    condition     = local.newest_share["api"] == 10
    error_message = "the newest revision gets ${local.newest_share["api"]} %"
  }
}

run "environments_are_told_apart" {
  command = plan
  variables {
    topology_file = "tests/fixtures/single.yaml"
    environment   = "staging"
  }

  assert {
    condition     = local.env["api"].OTEL_RESOURCE_ATTRIBUTES == "gcp.project_id=offline-project,service.namespace=a,service.version=1.2.3,deployment.environment.name=staging,cloud.region=europe-west1"
    error_message = "resource: ${local.env["api"].OTEL_RESOURCE_ATTRIBUTES}"
  }
}

run "the_collectors_memory_is_told" {
  command = plan
  variables {
    topology_file        = "tests/fixtures/single.yaml"
    collector_memory_mib = 512
  }

  assert {
    condition     = local.collector_env.COLLECTOR_MEMORY_MIB == "320" && local.collector_env.GOOGLE_CLOUD_PROJECT == "offline-project"
    error_message = "it accepts spans up to ${local.collector_env.COLLECTOR_MEMORY_MIB} MiB"
  }
}
