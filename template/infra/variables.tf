# Values go to terraform.tfvars, or to environments/NAME.tfvars where there are several environments.

variable "artifact_registry" {
  description = "Create an Artifact Registry repository for the images? false: the images lie elsewhere; the Cloud Run service agent must then be allowed to read there."
  type        = bool
  default     = true
}

variable "collector_cpu" {
  description = "CPU limit of the collector beside each service. It is paid for like the service's own: https://cloud.google.com/run/pricing."
  type        = string
  default     = "1"

  validation {
    condition     = can(regex("^(0\\.(0[89]|[1-9][0-9]?)|1|2)$", var.collector_cpu))
    error_message = "collector_cpu is \"${var.collector_cpu}\": use 1, 2 or a value from 0.08 to 0.99."
  }
}

variable "collector_folder" {
  description = "Folder of the collector's configurations; null: collector/ of this repository."
  type        = string
  default     = null
}

variable "collector_image" {
  description = "Google-built OpenTelemetry Collector, or a copy of it; its version and the files in collector/ move together."
  type        = string
  default     = "us-docker.pkg.dev/cloud-ops-agents-artifacts/google-cloud-opentelemetry-collector/otelcol-google:0.156.1"

  validation {
    condition = anytrue([
      can(regex("@sha256:[0-9a-f]{64}$", var.collector_image)),
      try(tonumber(regex(":0\\.([0-9]+)\\.[0-9]+$", var.collector_image)[0]) > 156, false),
      can(regex(":0\\.156\\.[1-9][0-9]*$", var.collector_image)),
      can(regex(":[1-9][0-9]*\\.[0-9]+\\.[0-9]+$", var.collector_image)),
    ])
    error_message = "collector_image is \"${var.collector_image}\": name version 0.156.1 or newer, or a digest; older ones do not know the exporter otlp_http."
  }
}

variable "collector_memory_mib" {
  description = "Memory limit in MiB of the collector beside each service; it refuses spans at 5/8 of it."
  type        = number
  default     = 256

  validation {
    condition     = var.collector_memory_mib >= 128 && floor(var.collector_memory_mib) == var.collector_memory_mib
    error_message = "collector_memory_mib is ${var.collector_memory_mib}: use a whole number of at least 128."
  }
}

variable "deletion_protection" {
  description = "Refuse to destroy the services. To tear down: apply with false first, then destroy."
  type        = bool
  default     = true
}

variable "enable_apis" {
  description = "Enable the Google Cloud APIs that the services need? false: somebody else does."
  type        = bool
  default     = true
}

variable "environment" {
  description = "Value of deployment.environment.name on every span."
  type        = string
  default     = "production"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,29}$", var.environment))
    error_message = "environment is \"${var.environment}\": use up to 30 lower-case letters, digits and dashes, a letter first."
  }
}

variable "images" {
  description = "Image of each service, best by digest: { api = \"REGION-docker.pkg.dev/PROJECT/REPOSITORY/api@sha256:…\" }. A service that is left out keeps the image that is deployed, whoever deployed it; the first deployment must name all."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for image in values(var.images) : can(regex("(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9_.-]*)$", image)) && !endswith(image, ":latest")])
    error_message = "images: name a digest (…@sha256:…) or a tag other than latest: the same name must not mean another image tomorrow. Got ${join(", ", values(var.images))}."
  }
}

variable "invokers" {
  description = "Who may call a service besides the services that name it in their calls: { api = [\"group:shop@example.com\"] }."
  type        = map(set(string))
  default     = {}

  validation {
    condition = alltrue([for member in flatten([for members in values(var.invokers) : tolist(members)]) :
      can(regex("^(user|group|serviceAccount|domain|principal|principalSet):", member))
    ])
    error_message = "invokers: use IAM members such as user:…, group:… or serviceAccount:…; whom everybody may call says `access: public` in topology.yaml."
  }

  validation {
    condition     = length(setsubtract(keys(var.invokers), keys(local.services))) == 0
    error_message = "invokers: ${join(", ", setsubtract(keys(var.invokers), keys(local.services)))}: no such service in topology.yaml, which has ${join(", ", keys(local.services))}."
  }
}

variable "labels" {
  description = "Labels of every resource."
  type        = map(string)
  default     = {}
}

variable "liveness_probes" {
  description = "Probe containers during their whole life? Some organisations require it. Each probe is paid for and wakes an idle instance: https://cloud.google.com/run/docs/configuring/healthchecks."
  type        = bool
  default     = false
}

variable "network" {
  description = "An existing VPC network that the services send from, by Direct VPC egress; its subnetwork needs Private Google Access, else no span leaves with ALL_TRAFFIC. Services that call internal ones send ALL_TRAFFIC, whatever egress says, which reaches the Internet only with Cloud NAT there; unless private_run_app says that run.app resolves to private.googleapis.com in that network. null: none, or one made here where a service calls an internal one."
  type = object({
    network    = string
    subnetwork = string
    tags       = optional(list(string), [])
    egress     = optional(string, "PRIVATE_RANGES_ONLY")

    private_run_app = optional(bool, false)
  })
  default = null

  validation {
    condition     = var.network == null ? true : contains(["ALL_TRAFFIC", "PRIVATE_RANGES_ONLY"], var.network.egress)
    error_message = "network.egress is \"${try(var.network.egress, "")}\": use ALL_TRAFFIC or PRIVATE_RANGES_ONLY."
  }
}

variable "project_id" {
  description = "Google Cloud project of the services and their traces."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is \"${var.project_id}\": set the project's id in infra/terraform.tfvars (6 to 30 lower-case letters, digits and dashes; not its number)."
  }
}

variable "project_number" {
  description = "Number of that project; looked up where a service calls another, if null."
  type        = string
  default     = null
}

variable "public_access" {
  description = "How a public service is opened: allUsers grants everybody the right to call it; unchecked switches the check off, for organisations whose policy forbids allUsers: https://cloud.google.com/run/docs/authenticating/public."
  type        = string
  default     = "allUsers"

  validation {
    condition     = contains(["allUsers", "unchecked"], var.public_access)
    error_message = "public_access is \"${var.public_access}\": use allUsers or unchecked."
  }
}

variable "topology_file" {
  description = "The description of the services; null: topology.yaml of this repository."
  type        = string
  default     = null
}

variable "traffic" {
  description = "Percent of the traffic that goes to named revisions of a service, the rest to the newest: { api = { orders-api-00041-abc = 90 } } is a canary of 10 %, 100 a rollback."
  type        = map(map(number))
  default     = {}

  validation {
    condition = alltrue([for shares in values(var.traffic) :
      sum(concat([0], values(shares))) <= 100 && alltrue([for share in values(shares) : share >= 1 && floor(share) == share])
    ])
    error_message = "traffic: use whole numbers from 1 to 100 that make at most 100 for each service. Got ${jsonencode(var.traffic)}."
  }

  validation {
    condition     = length(setsubtract(keys(var.traffic), keys(local.services))) == 0
    error_message = "traffic: ${join(", ", setsubtract(keys(var.traffic), keys(local.services)))}: no such service in topology.yaml, which has ${join(", ", keys(local.services))}."
  }
}
