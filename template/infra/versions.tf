terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.46, < 9.0"
    }
  }
}

provider "google" {
  project        = var.project_id
  region         = local.region
  default_labels = var.labels
}
