# Every rule for topology.yaml refuses what it should.
variables {
  raw    = {}
  schema = jsondecode(file("../topology.schema.json"))
}

run "what_is_right_passes" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-grpc" } } }
  }

  assert {
    condition     = output.topology.services["api"].protocol == "grpc" && output.topology.billing == "request"
    error_message = "defaults are filled in: ${jsonencode(output.topology)}"
  }
}

run "an_unknown_key" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-nethttp" } } }
    raw      = { project = "shop", services = { api = { framework = "go-nethttp", call = ["stock"] } } }
  }
  expect_failures = [output.topology]
}

run "an_empty_service" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = null } }
  }
  expect_failures = [output.topology]
}

run "an_unknown_framework" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "django" } } }
  }
  expect_failures = [output.topology]
}

run "an_unknown_word" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", billing = "never", services = { api = { framework = "go-nethttp" } } }
  }
  expect_failures = [output.topology]
}

run "what_is_not_supported_yet" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-nethttp", database = "postgres" } } }
  }
  expect_failures = [output.topology]
}

run "a_missing_entry" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { web = { framework = "go-nethttp" } } }
  }
  expect_failures = [output.topology]
}

run "a_taken_name" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-nethttp" }, upstream = { framework = "go-nethttp" } } }
  }
  expect_failures = [output.topology]
}

run "a_long_name" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { region = "us-east4", project = "fifteen-letters", services = { api = { framework = "go-nethttp" }, fifteen-letters = { framework = "go-nethttp" } } }
  }
  expect_failures = [output.topology]
}

run "a_wrong_project" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { region = "us-east4", project = "Shop!", services = { api = { framework = "go-nethttp" } } }
  }
  expect_failures = [output.topology]
}

run "a_wrong_region" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "Europe", services = { api = { framework = "go-nethttp" } } }
  }
  expect_failures = [output.topology]
}

run "an_unknown_back_end" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", exporter = "direct", backend = "jaeger", services = { api = { framework = "go-nethttp" } } }
  }
  expect_failures = [output.topology]
}

run "a_sidecar_that_sends_elsewhere" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", backend = "https://otlp.example", services = { api = { framework = "go-nethttp" } } }
  }
  expect_failures = [output.topology]
}

run "headers_for_google" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", backend_headers_secret = "headers", services = { api = { framework = "go-nethttp" } } }
  }
  expect_failures = [output.topology]
}

run "a_ratio_above_one" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", sampling = { ratio = 7 }, services = { api = { framework = "go-nethttp" } } }
  }
  expect_failures = [output.topology]
}

run "a_negative_bound" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", sampling = { max_traces_per_second = -1 }, services = { api = { framework = "go-nethttp" } } }
  }
  expect_failures = [output.topology]
}

run "an_unknown_callee" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-nethttp", calls = ["prices"] } } }
  }
  expect_failures = [output.topology]
}

run "a_call_of_itself" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-nethttp", calls = ["api"] } } }
  }
  expect_failures = [output.topology]
}

run "a_call_that_stands_twice" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-nethttp", calls = ["stock", "stock"] }, stock = { framework = "go-nethttp" } } }
  }
  expect_failures = [output.topology]
}

run "an_internal_service_that_nobody_calls" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-nethttp", ingress = "internal" } } }
  }
  expect_failures = [output.topology]
}

run "internal_services_that_call_only_each_other" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = {
      api   = { framework = "go-nethttp" }
      audit = { framework = "go-nethttp", ingress = "internal", calls = ["stock"] }
      stock = { framework = "go-nethttp", ingress = "internal", calls = ["audit"] }
    } }
  }
  expect_failures = [output.topology]
}

run "as_many_services_as_are_allowed_each_reached_by_the_one_before" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = merge(
      { api = { framework = "go-nethttp", calls = ["s1"] } },
      { for number in range(1, 20) : "s${number}" => {
        framework = "go-nethttp", ingress = "internal", calls = number < 19 ? ["s${number + 1}"] : []
      } },
    ) }
  }

  assert {
    condition     = length(output.topology.services) == 20
    error_message = "there are ${length(output.topology.services)} services"
  }
}

run "one_service_too_many" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = merge(
      { api = { framework = "go-nethttp" } },
      { for number in range(1, 21) : "s${number}" => { framework = "go-nethttp" } },
    ) }
  }
  expect_failures = [output.topology]
}

run "a_variable_of_the_platform" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-nethttp", env = { PORT = "1" } } } }
  }
  expect_failures = [output.topology]
}

run "a_secret_for_a_variable_that_is_there" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-nethttp", env = { KEY = "1" }, secrets = { KEY = "key" } } } }
  }
  expect_failures = [output.topology]
}

run "a_path_for_a_secret" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-nethttp", secrets = { KEY = "projects/p/secrets/key" } } } }
  }
  expect_failures = [output.topology]
}

run "more_instances_at_least_than_at_most" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-nethttp", min_instances = 11 } } }
  }
  expect_failures = [output.topology]
}

run "memory_that_does_not_fit_the_cpu" {
  command = plan
  module { source = "./modules/topology" }
  variables {
    topology = { project = "shop", region = "us-east4", services = { api = { framework = "go-nethttp", cpu = "8" } } }
  }
  expect_failures = [output.topology]
}
