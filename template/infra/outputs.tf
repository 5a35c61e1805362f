output "image_repository" {
  description = "Where to push the images; null if they lie elsewhere."
  value       = var.artifact_registry ? "${local.region}-docker.pkg.dev/${var.project_id}/${local.prefix}" : null
}

output "images" {
  description = "Image of each service; what to name in var.images to get back to this state."
  value       = local.images
}

output "service_accounts" {
  description = "Account of each service, for grants of your own."
  value       = { for name, account in google_service_account.service : name => account.email }
}

output "topology" {
  description = "topology.yaml with every default filled in."
  value       = local.topology
}

output "urls" {
  description = "Address of each service."
  value       = { for name, service in google_cloud_run_v2_service.service : name => service.uri }
}
