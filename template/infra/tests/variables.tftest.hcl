# Every variable refuses what it should.
variables {
  project_id     = "offline-project"
  project_number = "123456789012"
  images         = { api = "x/api:1.2.3" }
  topology_file  = "tests/fixtures/single.yaml"

  collector_folder = "tests/fixtures/collector"
}

mock_provider "google" {}

run "project_id" {
  command = plan
  variables { project_id = "123456789012" }
  expect_failures = [var.project_id]
}

run "environment" {
  command = plan
  variables { environment = "a,b" }
  expect_failures = [var.environment]
}

run "images" {
  command = plan
  variables { images = { api = "x/api:latest" } }
  expect_failures = [var.images]
}

run "invokers" {
  command = plan
  variables { invokers = { api = ["allUsers"] } }
  expect_failures = [var.invokers]
}

run "invokers_of_no_service" {
  command = plan
  variables { invokers = { apis = ["group:shop@example.com"] } }
  expect_failures = [var.invokers]
}

run "public_access" {
  command = plan
  variables { public_access = "everybody" }
  expect_failures = [var.public_access]
}

run "collector_image" {
  command = plan
  variables { collector_image = "otelcol-google:0.143.0" }
  expect_failures = [var.collector_image]
}

run "collector_memory_mib" {
  command = plan
  variables { collector_memory_mib = 64 }
  expect_failures = [var.collector_memory_mib]
}

run "collector_cpu" {
  command = plan
  variables { collector_cpu = "3" }
  expect_failures = [var.collector_cpu]
}

run "network" {
  command = plan
  variables { network = { network = "n", subnetwork = "s", egress = "SOME" } }
  expect_failures = [var.network]
}

run "traffic" {
  command = plan
  variables { traffic = { api = { a = 60, b = 60 } } }
  expect_failures = [var.traffic]
}

run "traffic_of_no_service" {
  command = plan
  variables { traffic = { a-api = { a = 60 } } }
  expect_failures = [var.traffic]
}
