# Resources of your own. This file is yours: updates never touch it. It may use, for the service api:
# google_service_account.service["api"].member, google_cloud_run_v2_service.service["api"].name, local.topology.
