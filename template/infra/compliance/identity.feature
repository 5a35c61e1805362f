Feature: Every identity has the least rights

  @noskip
  Scenario: Each service has an account of its own
    Given I have google_cloud_run_v2_service defined
    Then no two services share an account, and none uses the default one

  @noskip
  Scenario: Rights are granted member by member, where they are read
    Given I have google_service_account defined
    Then no right is granted by other resources than those that the next scenarios read

  Scenario: Rights in the project are those to write traces, and no more
    Given I have google_project_iam_member defined
    Then every role in the project is the one to write traces, or listed in own-project-roles.txt

  @noskip
  Scenario: Services may write traces where Google keeps them, and else may not
    Given I have google_service_account defined
    Then exactly the services that send to Google may write traces

  Scenario: Callers may call, and no more
    Given I have google_cloud_run_v2_service_iam_member defined
    Then it must have role
    And its value must match the "^roles/run\.invoker$" regex

  @noskip
  Scenario: Everybody may call public services, and nobody unnamed a private one
    Given I have google_cloud_run_v2_service defined
    Then exactly the services that topology.yaml calls public are open to everybody

  @noskip
  Scenario: A service may call those that it names
    Given I have google_cloud_run_v2_service defined
    Then exactly the calls of topology.yaml are granted to accounts of services

  @noskip
  Scenario: A service shows who it is to private services, and to nobody else
    Given I have google_cloud_run_v2_service defined
    Then exactly the private callees of a service are sent an ID token

  @noskip
  Scenario: Secrets are read by the services that name them
    Given I have google_cloud_run_v2_service defined
    Then exactly the secrets that a service uses are readable to it, and only readable
    And no plain variable looks like a secret
