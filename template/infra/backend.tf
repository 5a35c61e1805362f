# Where the state is kept: a bucket, named in backend.hcl. This file is yours: updates never touch it.
terraform {
  backend "gcs" {}
}
