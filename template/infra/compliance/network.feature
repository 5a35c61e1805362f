Feature: Internal services are reached from inside

  @noskip
  Scenario: Ingress is as declared
    Given I have google_cloud_run_v2_service defined
    Then every service has the ingress of topology.yaml

  @noskip
  Scenario: Callers of internal services leave through the network
    Given I have google_cloud_run_v2_service defined
    Then every caller of an internal service sends all its traffic through the network

  Scenario: Google stays reachable from the network
    Given I have google_compute_subnetwork defined
    Then it must have private_ip_google_access
    And its value must be true
