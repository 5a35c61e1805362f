# This project's own topology.yaml.
variables {
  project_id     = "offline-project"
  project_number = "123456789012"
}

mock_provider "google" {
  mock_data "google_cloud_run_v2_service" {
    defaults = {
      template = [{ containers = [
        { name = "collector", image = "example.pkg.dev/offline/otelcol:0.156.1" },
        { name = "app", image = "example.pkg.dev/offline/app:1.2.3" },
      ] }]
    }
  }
}

run "it_can_be_applied" {
  assert {
    condition     = join(" ", keys(output.urls)) == join(" ", keys(yamldecode(file("../topology.yaml")).services))
    error_message = "services are ${join(" ", keys(output.urls))}"
  }
}

run "it_can_be_applied_again" {
  assert {
    condition     = length(output.service_accounts) == length(output.urls)
    error_message = "accounts are ${join(" ", values(output.service_accounts))}"
  }
}
