Feature: Internal services are reached from inside

  @noskip
  Scenario: Ingress is as declared
    Given I have google_cloud_run_v2_service defined
    Then every service has the ingress of topology.yaml

  @noskip
  Scenario: Callers know where their callees are
    Given I have google_cloud_run_v2_service defined
    Then every service finds those that it calls

  @noskip
  Scenario: Callers of internal services reach them through a network
    Given I have google_cloud_run_v2_service defined
    Then every caller of an internal service leaves through a network that leads to it

  @noskip
  Scenario: Spans and requests to the Internet find their way
    Given I have google_cloud_run_v2_service defined
    Then no service sends all its traffic into a network without Internet

  Scenario: Google stays reachable from the network
    Given I have google_compute_subnetwork defined
    Then it must have private_ip_google_access
    And its value must be true
