Feature: Every span arrives, and says where it comes from

  @noskip
  Scenario: Spans go to the collector beside the service, to Google or to the declared end point
    Given I have google_cloud_run_v2_service defined
    Then every service exports to where topology.yaml says
    And only direct export to Google is signed by the service

  @noskip
  Scenario: Spans name their service and their project
    Given I have google_cloud_run_v2_service defined
    Then every service names itself, its project, version and environment

  @noskip
  Scenario: Sampling is as declared
    Given I have google_cloud_run_v2_service defined
    Then every service samples as topology.yaml says

  @noskip
  Scenario: Nothing waits for a CPU that is gone
    Given I have google_cloud_run_v2_service defined
    Then every service flushes as its billing needs
    And under request billing the collector neither batches nor queues

  @noskip
  Scenario: Only callers that are checked are believed
    Given I have google_cloud_run_v2_service defined
    Then exactly private services that others call trust their callers

  @noskip
  Scenario: The collector is up before the service
    Given I have google_cloud_run_v2_service defined
    Then every service waits for its collector
    And every collector starts with the configuration that it carries
    And every collector is probed where its configuration answers
    And every collector listens on localhost only, and knows the project
    And no collector accepts more spans than its memory holds
