resource "google_cloud_run_v2_service" "service" {
  for_each = local.services

  name                 = local.names[each.key]
  location             = local.region
  ingress              = each.value.ingress == "all" ? "INGRESS_TRAFFIC_ALL" : "INGRESS_TRAFFIC_INTERNAL_ONLY"
  deletion_protection  = var.deletion_protection
  invoker_iam_disabled = each.value.access == "public" && var.public_access == "unchecked"

  template {
    service_account                  = google_service_account.service[each.key].email
    max_instance_request_concurrency = each.value.concurrency

    scaling {
      min_instance_count = each.value.min_instances
      max_instance_count = each.value.max_instances
    }

    # First, since it has the port.
    containers {
      name       = "app"
      image      = local.images[each.key]
      depends_on = local.sidecar ? ["collector"] : null

      ports {
        name           = each.value.protocol == "grpc" ? "h2c" : "http1"
        container_port = 8080
      }

      dynamic "env" {
        for_each = local.env[each.key]
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = local.secrets[each.key]
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = split(":", env.value)[0]
              version = try(split(":", env.value)[1], "latest")
            }
          }
        }
      }

      # Without cpu_idle, limits would mean instance-based billing.
      resources {
        limits            = { cpu = each.value.cpu, memory = each.value.memory }
        cpu_idle          = local.topology.billing == "request"
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 60

        dynamic "http_get" {
          for_each = each.value.protocol == "http" ? ["/health"] : []
          content {
            path = http_get.value
            port = 8080
          }
        }
        dynamic "grpc" {
          for_each = each.value.protocol == "grpc" ? [8080] : []
          content {
            port = grpc.value
          }
        }
      }

      dynamic "liveness_probe" {
        for_each = var.liveness_probes ? [each.value.protocol] : []
        content {
          period_seconds    = 30
          timeout_seconds   = 5
          failure_threshold = 3

          dynamic "http_get" {
            for_each = liveness_probe.value == "http" ? ["/health"] : []
            content {
              path = http_get.value
              port = 8080
            }
          }
          dynamic "grpc" {
            for_each = liveness_probe.value == "grpc" ? [8080] : []
            content {
              port = grpc.value
            }
          }
        }
      }
    }

    dynamic "containers" {
      for_each = local.sidecar ? ["collector"] : []
      content {
        name  = containers.value
        image = var.collector_image
        args  = ["--config=env:OTEL_CONFIG"]

        dynamic "env" {
          for_each = local.collector_env
          content {
            name  = env.key
            value = env.value
          }
        }

        resources {
          limits   = { cpu = var.collector_cpu, memory = "${var.collector_memory_mib}Mi" }
          cpu_idle = local.topology.billing == "request"
        }

        # A container that another one depends on must have a start-up probe.
        startup_probe {
          period_seconds    = 1
          timeout_seconds   = 1
          failure_threshold = 60
          http_get {
            path = "/"
            port = 13133
          }
        }

        dynamic "liveness_probe" {
          for_each = var.liveness_probes ? [13133] : []
          content {
            period_seconds    = 30
            timeout_seconds   = 5
            failure_threshold = 3
            http_get {
              path = "/"
              port = liveness_probe.value
            }
          }
        }
      }
    }

    dynamic "vpc_access" {
      for_each = contains(keys(local.egress), each.key) ? [local.egress[each.key]] : []
      content {
        egress = vpc_access.value.egress
        network_interfaces {
          network    = vpc_access.value.network
          subnetwork = vpc_access.value.subnetwork
          tags       = vpc_access.value.tags
        }
      }
    }
  }

  dynamic "traffic" {
    for_each = lookup(var.traffic, each.key, {})
    content {
      type     = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
      revision = traffic.key
      percent  = traffic.value
    }
  }
  dynamic "traffic" {
    for_each = local.newest_share[each.key] > 0 ? [local.newest_share[each.key]] : []
    content {
      type    = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
      percent = traffic.value
    }
  }

  lifecycle {
    # Marks of the tool that deployed last.
    ignore_changes = [client, client_version]

    precondition {
      condition     = length(local.collector_config) <= 32768
      error_message = "${local.collector_file} has ${length(local.collector_config)} characters: an environment variable of Cloud Run holds 32768."
    }
  }

  # Else the first revision starts before it may write traces, read secrets and reach internal services.
  depends_on = [
    google_dns_record_set.run_app,
    google_project_service.api,
    google_project_iam_member.traces,
    google_secret_manager_secret_iam_member.reader,
  ]
}

locals {
  newest_share = { for name, _ in local.services : name => 100 - sum(concat([0], values(lookup(var.traffic, name, {})))) }
}
