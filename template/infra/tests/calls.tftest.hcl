# Who reaches whom, and how.
variables {
  project_id     = "offline-project"
  project_number = "123456789012"
  images         = { for name in ["account", "api", "audit", "fx-rates", "inventory", "ledger", "price-list", "pricing", "stock", "tax"] : name => "x/${name}:1.2.3" }

  collector_folder = "tests/fixtures/collector"
}

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "210987654321" }
  }
}

run "a_chain" {
  command = plan
  variables { topology_file = "tests/fixtures/chain.yaml" }

  assert {
    condition     = join(", ", sort(keys(google_cloud_run_v2_service_iam_member.caller))) == "api allUsers, inventory pricing, pricing api"
    error_message = "callers are ${join(", ", sort(keys(google_cloud_run_v2_service_iam_member.caller)))}"
  }
  assert {
    condition     = length(toset([for account in google_service_account.service : account.account_id])) == 3
    error_message = "each service has an account of its own"
  }
  assert {
    condition     = join(" ", [for name in ["api", "pricing", "inventory"] : local.env[name].TRACERUN_TRUST_CALLERS]) == "false true true"
    error_message = "only private services that others call trust their callers"
  }
  assert {
    condition     = local.env["api"].TRACERUN_PRIVATE_CALLEES == local.env["api"].PRICING_URL && local.env["pricing"].TRACERUN_PRIVATE_CALLEES == local.env["pricing"].INVENTORY_URL && !contains(keys(local.env["inventory"]), "TRACERUN_PRIVATE_CALLEES")
    error_message = "private callees are ${jsonencode(local.private_callees)}"
  }
  assert {
    condition     = join(" ", keys(local.egress)) == "api pricing" && length(google_compute_subnetwork.egress) == 1
    error_message = "callers of internal services leave through the network, here ${join(" ", keys(local.egress))}"
  }
  assert {
    condition     = one(google_dns_managed_zone.run_app[*].visibility) == "private" && join(" ", one(google_dns_record_set.run_app[*].rrdatas)) == "199.36.153.8 199.36.153.9 199.36.153.10 199.36.153.11"
    error_message = "run.app has addresses that lead into the network"
  }
}

run "a_diamond_with_a_private_entry" {
  command = plan
  variables {
    topology_file = "tests/fixtures/diamond.yaml"
    invokers      = { api = ["group:shop@example.com"], ledger = ["serviceAccount:audit@example.iam.gserviceaccount.com"] }
  }

  assert {
    condition     = join(", ", sort(keys(google_cloud_run_v2_service_iam_member.caller))) == "account api, api fx-rates, api group:shop@example.com, fx-rates allUsers, fx-rates api, ledger fx-rates, ledger serviceAccount:audit@example.iam.gserviceaccount.com, ledger tax, tax api"
    error_message = "callers are ${join(", ", sort(keys(google_cloud_run_v2_service_iam_member.caller)))}"
  }
  assert {
    condition     = local.env["api"].TRACERUN_PRIVATE_CALLEES == "https://shop-tax-123456789012.us-east4.run.app,https://shop-account-123456789012.us-east4.run.app"
    error_message = "private callees stand in the order of calls, public ones not at all: ${jsonencode(local.private_callees)}"
  }
  assert {
    condition     = join(" ", [for name in ["account", "api", "fx-rates", "ledger", "tax"] : local.env[name].TRACERUN_TRUST_CALLERS]) == "true true false true true"
    error_message = "only private services that others call trust their callers"
  }
  assert {
    condition     = join(" ", keys(local.egress)) == "api fx-rates tax"
    error_message = "callers of internal services leave through the network, here ${join(" ", keys(local.egress))}"
  }
}

run "the_projects_number_is_looked_up_for_addresses" {
  command = plan
  variables {
    topology_file  = "tests/fixtures/chain.yaml"
    project_number = null
  }

  assert {
    condition     = local.env["api"].PRICING_URL == "https://shop-pricing-210987654321.us-east4.run.app"
    error_message = "an address without a number leads nowhere: ${local.env["api"].PRICING_URL}"
  }
}

run "a_network_that_exists_is_used" {
  command = plan
  variables {
    topology_file = "tests/fixtures/many.yaml"
    network       = { network = "shared", subnetwork = "apps" }
  }

  assert {
    condition     = length(google_compute_network.egress) == 0 && local.egress["api"].egress == "ALL_TRAFFIC" && local.egress["audit"].egress == "PRIVATE_RANGES_ONLY"
    error_message = "egress: ${jsonencode(local.egress)}"
  }
}

run "a_network_that_knows_private_addresses_of_run_app_is_used_for_no_more" {
  command = plan
  variables {
    topology_file = "tests/fixtures/chain.yaml"
    network       = { network = "shared", subnetwork = "apps", private_run_app = true }
  }

  assert {
    condition     = join(" ", [for way in local.egress : "${way.network}/${way.egress}"]) == "shared/PRIVATE_RANGES_ONLY shared/PRIVATE_RANGES_ONLY shared/PRIVATE_RANGES_ONLY"
    error_message = "egress: ${jsonencode(local.egress)}"
  }
  assert {
    condition     = length(google_dns_managed_zone.run_app) == 0
    error_message = "the network has a zone for run.app"
  }
}

run "callers_of_internal_services_keep_the_way_to_another_back_end" {
  command = plan
  variables { topology_file = "tests/fixtures/inside.yaml" }

  assert {
    condition     = join(" ", [for name, way in local.egress : "${name} ${way.egress}"]) == "api PRIVATE_RANGES_ONLY"
    error_message = "egress: ${jsonencode(local.egress)}"
  }
}

run "the_network_has_an_address_for_every_instance" {
  command = plan
  variables { topology_file = "tests/fixtures/crowd.yaml" }
  expect_failures = [google_compute_subnetwork.egress]
}
