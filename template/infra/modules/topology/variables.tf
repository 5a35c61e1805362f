variable "raw" {
  description = "topology.yaml as it is: the typed variable drops unknown keys, so a misspelt one is visible only here."
  type        = any
}

variable "schema" {
  description = "topology.schema.json: the keys and the words that are allowed."
  type        = any
}

variable "topology" {
  description = "topology.yaml. topology.schema.json describes every key."
  type = object({
    project                = string
    region                 = string
    exporter               = optional(string, "sidecar")
    backend                = optional(string, "google")
    backend_headers_secret = optional(string)
    billing                = optional(string, "request")
    sampling = optional(object({
      ratio                 = optional(number, 0.1)
      keep_errors           = optional(bool, true)
      keep_slower_than_ms   = optional(number, 1000)
      max_traces_per_second = optional(number, 100)
    }), {})
    services = map(object({
      framework     = string
      access        = optional(string, "public")
      ingress       = optional(string, "all")
      calls         = optional(list(string), [])
      publishes     = optional(list(string), [])
      database      = optional(string, "none")
      env           = optional(map(string), {})
      secrets       = optional(map(string), {})
      min_instances = optional(number, 0)
      max_instances = optional(number, 10)
      concurrency   = optional(number, 80)
      cpu           = optional(string, "1")
      memory        = optional(string, "512Mi")
    }))
    topics = optional(map(object({ subscribers = optional(list(string), []) })), {})
  })
}
