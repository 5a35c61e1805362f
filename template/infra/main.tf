# The services are described in ../topology.yaml; what differs between environments are variables; resources of your own
# go to extra.tf.

module "topology" {
  source   = "./modules/topology"
  topology = local.source
  raw      = local.source
  schema   = jsondecode(file("${path.module}/../topology.schema.json"))
}

locals {
  source = yamldecode(file(coalesce(var.topology_file, "${path.module}/../topology.yaml")))

  topology = module.topology.topology
  services = local.topology.services
  prefix   = local.topology.project
  region   = local.topology.region
  sidecar  = local.topology.exporter == "sidecar"
  google   = local.topology.backend == "google"

  names = { for name, _ in local.services : name => "${local.prefix}-${name}" }

  apis = var.enable_apis ? concat(
    ["artifactregistry.googleapis.com", "cloudresourcemanager.googleapis.com", "iam.googleapis.com", "run.googleapis.com"],
    local.google ? ["cloudtrace.googleapis.com", "telemetry.googleapis.com"] : [],
    length(local.secret_readers) > 0 ? ["secretmanager.googleapis.com"] : [],
    local.own_network ? ["compute.googleapis.com", "dns.googleapis.com"] : [],
  ) : []
}

resource "google_project_service" "api" {
  for_each           = toset(local.apis)
  service            = each.value
  disable_on_destroy = false
}

resource "google_artifact_registry_repository" "images" {
  count         = var.artifact_registry ? 1 : 0
  repository_id = local.prefix
  location      = local.region
  format        = "DOCKER"
  description   = "Images of ${local.prefix}"
  depends_on    = [google_project_service.api]
}
