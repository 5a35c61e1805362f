# Requests between services count as internal only when they come from a VPC network, and callers reach one only by Direct
# VPC egress: https://cloud.google.com/run/docs/securing/private-networking. In the network that is made here run.app has
# private addresses, so that nothing but requests to services goes through it: spans and requests to the Internet leave as
# from any other service, without Cloud NAT.
locals {
  internal_callers = toset([for name, service in local.services : name
    if anytrue([for callee in service.calls : local.services[callee].ingress == "internal"])
  ])
  own_network = var.network == null && length(local.internal_callers) > 0

  # An existing network may know only the public addresses of run.app: then all traffic must go through it.
  egress = { for name in var.network == null ? local.internal_callers : toset(keys(local.services)) : name => {
    network    = var.network == null ? one(google_compute_network.egress[*].id) : var.network.network
    subnetwork = var.network == null ? one(google_compute_subnetwork.egress[*].id) : var.network.subnetwork
    tags       = var.network == null ? [] : var.network.tags
    egress = (
      var.network == null ? "PRIVATE_RANGES_ONLY" :
      contains(local.internal_callers, name) && !var.network.private_run_app ? "ALL_TRAFFIC" :
      var.network.egress
    )
  } }

  # Known before any service exists, so that services can call each other in a circle.
  project_number = try(coalesce(var.project_number, one(data.google_project.this[*].number)), "")
  urls           = { for name, service in local.names : name => "https://${service}-${local.project_number}.${local.region}.run.app" }
}

data "google_project" "this" {
  count      = var.project_number == null && length(local.called) > 0 ? 1 : 0
  project_id = var.project_id
}

resource "google_compute_network" "egress" {
  count                   = local.own_network ? 1 : 0
  name                    = "${local.prefix}-egress"
  auto_create_subnetworks = false
  depends_on              = [google_project_service.api]
}

resource "google_compute_subnetwork" "egress" {
  count                    = local.own_network ? 1 : 0
  name                     = "${local.prefix}-egress"
  network                  = google_compute_network.egress[0].id
  region                   = local.region
  ip_cidr_range            = "10.64.0.0/20"
  private_ip_google_access = true

  lifecycle {
    # Four addresses an instance: https://cloud.google.com/run/docs/configuring/networking-best-practices.
    precondition {
      condition     = 4 * sum(concat([0], [for name in local.internal_callers : local.services[name].max_instances])) <= 4092
      error_message = "${join(", ", local.internal_callers)}: max_instances make more than 1023 together, and the network made here has addresses for no more: lower them in topology.yaml, or set var.network."
    }
  }
}

resource "google_dns_managed_zone" "run_app" {
  count       = local.own_network ? 1 : 0
  name        = "${local.prefix}-run-app"
  dns_name    = "run.app."
  description = "Addresses of Cloud Run in the network ${local.prefix}-egress"
  visibility  = "private"
  depends_on  = [google_project_service.api]

  private_visibility_config {
    networks {
      network_url = google_compute_network.egress[0].id
    }
  }
}

# private.googleapis.com: https://cloud.google.com/vpc/docs/configure-private-google-access#config-options.
resource "google_dns_record_set" "run_app" {
  count        = local.own_network ? 1 : 0
  managed_zone = google_dns_managed_zone.run_app[0].name
  name         = "*.run.app."
  type         = "A"
  ttl          = 300
  rrdatas      = ["199.36.153.8", "199.36.153.9", "199.36.153.10", "199.36.153.11"]
}
