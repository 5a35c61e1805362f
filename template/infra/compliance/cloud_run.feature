Feature: Cloud Run starts, probes and bills as declared

  @noskip
  Scenario: Every container says what it may use and when it has CPU
    Given I have google_cloud_run_v2_service defined
    Then every container limits its CPU and its memory
    And every container has cpu_idle as topology.yaml bills

  @noskip
  Scenario: Every container is probed
    Given I have google_cloud_run_v2_service defined
    Then every container has a start-up probe of exactly one kind
    And every service is probed at the port that it listens on

  @noskip
  Scenario: The container with the port stands first and speaks its protocol
    Given I have google_cloud_run_v2_service defined
    Then the first container has the only port
    And services that speak gRPC name their port h2c, and no others

  @noskip
  Scenario: Scaling is bounded
    Given I have google_cloud_run_v2_service defined
    Then every service scales as topology.yaml says

  @noskip
  Scenario: No system annotations, which version 2 of the API refuses
    Given I have google_cloud_run_v2_service defined
    Then no annotation belongs to the system

  @noskip
  Scenario: Images are named so that they stay what they are
    Given I have google_cloud_run_v2_service defined
    Then no image is named by the tag latest or by none

  @noskip
  Scenario: All traffic goes somewhere
    Given I have google_cloud_run_v2_service defined
    Then the traffic of every service makes 100 percent
