# Requests between services count as internal only when they come from a VPC network:
# https://cloud.google.com/run/docs/securing/ingress.
locals {
  internal_callers = toset([for name, service in local.services : name
    if anytrue([for callee in service.calls : local.services[callee].ingress == "internal"])
  ])
  own_network = var.network == null && length(local.internal_callers) > 0

  egress = merge(
    var.network == null ? {} : { for name, _ in local.services : name => var.network },
    { for name in local.internal_callers : name => {
      network    = var.network == null ? one(google_compute_network.egress[*].id) : var.network.network
      subnetwork = var.network == null ? one(google_compute_subnetwork.egress[*].id) : var.network.subnetwork
      tags       = var.network == null ? [] : var.network.tags
      egress     = "ALL_TRAFFIC"
    } },
  )

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

# All traffic of a caller of internal services leaves here: Google's APIs by Private Google Access, the Internet not at
# all (for that bring a network with Cloud NAT: var.network).
resource "google_compute_subnetwork" "egress" {
  count                    = local.own_network ? 1 : 0
  name                     = "${local.prefix}-egress"
  network                  = google_compute_network.egress[0].id
  region                   = local.region
  ip_cidr_range            = "10.64.0.0/24"
  private_ip_google_access = true

  lifecycle {
    precondition {
      condition     = local.google
      error_message = "${join(", ", local.internal_callers)}: all traffic goes through a network without Internet, since internal services are called: spans would not reach ${local.topology.backend}. Set var.network to a network with Cloud NAT, or let the callees have `ingress: all` in topology.yaml."
    }
  }
}
