# Types, defaults and rules for topology.yaml. No resources.
locals {
  empty    = [for name, service in var.topology.services : name if service == null]
  services = { for name, service in var.topology.services : name => service if service != null }
  names    = keys(local.services)
  name     = "^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$"
  variable = "^[A-Za-z_][A-Za-z0-9_]*$"

  properties         = var.schema.properties
  service_properties = local.properties.services.additionalProperties.properties

  unknown_keys = concat(
    tolist(setsubtract(keys(var.raw), keys(local.properties))),
    [for key in keys(try(var.raw.sampling, {})) : "sampling.${key}" if !contains(keys(local.properties.sampling.properties), key)],
    flatten([for name in local.names : [
      for key in keys(try(var.raw.services[name], {})) : "services.${name}.${key}" if !contains(keys(local.service_properties), key)
    ]]),
  )

  unknown_words = concat(
    [for key in ["exporter", "billing"] : "${key}: ${var.topology[key]}" if !contains(local.properties[key].enum, var.topology[key])],
    flatten([for name, service in local.services : [
      for key in ["framework", "access", "ingress", "database", "cpu"] : "services.${name}.${key}: ${service[key]}"
      if !contains(local.service_properties[key].enum, service[key])
    ]]),
  )

  not_yet = concat(
    length(var.topology.topics) > 0 ? ["topics"] : [],
    [for name, service in local.services : "services.${name}.publishes" if length(service.publishes) > 0],
    [for name, service in local.services : "services.${name}.database" if service.database != "none"],
  )

  bad_calls = flatten([for name, service in local.services : [
    for callee in service.calls : "${name} calls ${callee}" if callee == name || !contains(local.names, callee)
  ]])

  called_twice = [for name, service in local.services : "services.${name}.calls" if length(service.calls) != length(toset(service.calls))]

  bad_names = [for name in local.names : name
    if !can(regex(local.name, name)) || length("${var.topology.project}-${name}") > 30 || contains(["database", "db", "slow", "upstream"], name)
  ]

  # Whom a service leads to by up to 1, 2, 4, … calls. More than 19 are never needed: there are 20 services at most.
  leads_1   = { for name, service in local.services : name => concat([name], [for callee in service.calls : callee if contains(local.names, callee)]) }
  leads_2   = { for name, to in local.leads_1 : name => distinct(flatten([for callee in to : local.leads_1[callee]])) }
  leads_4   = { for name, to in local.leads_2 : name => distinct(flatten([for callee in to : local.leads_2[callee]])) }
  leads_8   = { for name, to in local.leads_4 : name => distinct(flatten([for callee in to : local.leads_4[callee]])) }
  leads_16  = { for name, to in local.leads_8 : name => distinct(flatten([for callee in to : local.leads_8[callee]])) }
  leads_32  = { for name, to in local.leads_16 : name => distinct(flatten([for callee in to : local.leads_16[callee]])) }
  reached   = flatten([for name, service in local.services : local.leads_32[name] if service.ingress != "internal"])
  unreached = setsubtract(local.names, local.reached)

  bad_variables = flatten([for name, service in local.services : [
    for key in concat(keys(service.env), keys(service.secrets)) : "services.${name}: ${key}"
    if !can(regex(local.variable, key)) || contains(["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"], key)
  ]])

  given_twice = flatten([for name, service in local.services : [
    for key in keys(service.secrets) : "services.${name}: ${key}" if contains(keys(service.env), key)
  ]])

  bad_secrets = flatten([for name, service in local.services : [
    for key, secret in service.secrets : "services.${name}.secrets.${key}: ${secret}"
    if !can(regex("^[A-Za-z0-9_-]{1,255}(:([1-9][0-9]*|latest))?$", secret))
  ]])

  bad_scaling = [for name, service in local.services : "services.${name}"
    if service.min_instances < 0 || service.max_instances < max(1, service.min_instances) || service.concurrency < 1 || service.concurrency > 1000
    || anytrue([for value in [service.min_instances, service.max_instances, service.concurrency] : floor(value) != value])
  ]

  # https://cloud.google.com/run/docs/configuring/services/cpu, in MiB; below 512 there is no second generation.
  memory_for_cpu = {
    "1" = { least = 128, most = 4096 }
    "2" = { least = 128, most = 8192 }
    "4" = { least = 2048, most = 16384 }
    "6" = { least = 4096, most = 24576 }
    "8" = { least = 4096, most = 32768 }
  }
  memory_mib = { for name, service in local.services : name =>
    try(tonumber(regex("^([1-9][0-9]*)(?:Mi|Gi)$", service.memory)[0]) * (endswith(service.memory, "Gi") ? 1024 : 1), 0)
  }
  bad_memory = [for name, service in local.services : "services.${name} has cpu ${service.cpu} and memory ${service.memory}"
    if try(local.memory_mib[name] < local.memory_for_cpu[service.cpu].least || local.memory_mib[name] > local.memory_for_cpu[service.cpu].most, false)
  ]
}
