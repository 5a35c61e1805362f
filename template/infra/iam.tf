# Each service has an account of its own, with the rights to write traces and to read the secrets that it names, and no more.
resource "google_service_account" "service" {
  for_each = local.services
  # An id has at least 6 characters.
  account_id   = length(local.names[each.key]) < 6 ? "${local.names[each.key]}-run" : local.names[each.key]
  display_name = "Cloud Run service ${local.names[each.key]}"
  depends_on   = [google_project_service.api]
}

resource "google_project_iam_member" "traces" {
  for_each = local.google ? local.services : {}
  project  = var.project_id
  role     = "roles/telemetry.tracesWriter"
  member   = google_service_account.service[each.key].member
}

locals {
  secret_readers = { for reader in flatten([for name, secrets in local.secrets : [
    for secret in toset([for reference in values(secrets) : split(":", reference)[0]]) : { service = name, secret = secret }
  ]]) : "${reader.service} ${reader.secret}" => reader }

  # Services call services, named members call services, and everybody calls public ones.
  callers = merge(
    { for edge in flatten([for name, service in local.services : [for callee in service.calls : { caller = name, callee = callee }]]) :
      "${edge.callee} ${edge.caller}" => { service = edge.callee, member = google_service_account.service[edge.caller].member }
    },
    { for invoker in flatten([for name, members in var.invokers : [for member in members : { service = name, member = member }]]) :
      "${invoker.service} ${invoker.member}" => invoker
    },
    { for name, service in local.services : "${name} allUsers" => { service = name, member = "allUsers" }
      if service.access == "public" && var.public_access == "allUsers"
    },
  )
}

resource "google_secret_manager_secret_iam_member" "reader" {
  for_each  = local.secret_readers
  secret_id = each.value.secret
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.service[each.value.service].member
}

resource "google_cloud_run_v2_service_iam_member" "caller" {
  for_each = local.callers
  name     = google_cloud_run_v2_service.service[each.value.service].name
  location = local.region
  role     = "roles/run.invoker"
  member   = each.value.member
}
