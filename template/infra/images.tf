# A service that var.images leaves out keeps the image that is deployed: an apply for another reason rolls nothing back.
data "google_cloud_run_v2_service" "deployed" {
  for_each = setsubtract(keys(local.services), keys(var.images))
  name     = local.names[each.value]
  location = local.region
}

locals {
  images = { for name, _ in local.services : name => contains(keys(var.images), name) ? var.images[name] : one([
    for container in data.google_cloud_run_v2_service.deployed[name].template[0].containers : container.image
    if container.name == "app"
  ]) }

  # service.version of the spans: the image's tag, else the start of its digest.
  versions = { for name, image in local.images : name => coalesce(
    try(regex(":([A-Za-z0-9_.-]+)(?:@|$)", reverse(split("/", split("@", image)[0]))[0])[0], null),
    try(regex("@sha256:([0-9a-f]{12})", image)[0], null),
    "unknown",
  ) }
}
