"""Steps on accounts, rights, callers and secrets."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from radish import then

from plan import after, applications, fail, first, plain, secrets, services, topology, url_of

TRACES = "roles/telemetry.tracesWriter"
EVERYBODY = ("allUsers", "allAuthenticatedUsers")
# Other ways to grant what the steps below judge, member by member. A binding or a policy also takes rights away.
NOT_BY_MEMBER = (
    *(f"{on}_iam_{way}" for on in ("google_project", "google_cloud_run_v2_service") for way in ("binding", "policy")),
    *(f"google_secret_manager_secret_iam_{way}" for way in ("binding", "policy")),
    *(f"google_cloud_run_service_iam_{way}" for way in ("binding", "policy", "member")),
)
LOOKS_SECRET = re.compile(r"(?i)(password|passwd|secret|token|api_?key|private_?key|credential)")


def account(service: str) -> str:
    return f"serviceAccount:{first(services()[service]['template']).get('service_account')}"


@then("no two services share an account, and none uses the default one")
def own_account(step: Any) -> None:
    for found, count in Counter(map(account, services())).items():
        if count > 1 or not found.endswith(".iam.gserviceaccount.com"):
            fail(step, f"{count} service(s) run as {found}")


@then("every role in the project is the one to write traces, or listed in own-project-roles.txt")
def project_roles(step: Any) -> None:
    lines = (Path(__file__).parents[1] / "own-project-roles.txt").read_text(encoding="utf-8").splitlines()
    allowed = {TRACES, *(line.strip() for line in lines if not line.startswith("#"))}
    for address, grant in after("google_project_iam_member").items():
        if grant["role"] not in allowed:
            fail(step, f"{address} gives {grant['role']} in the whole project to {grant['member']}")
        if grant["role"] == TRACES and grant["member"] not in set(map(account, services())):
            fail(step, f"{address} gives {grant['role']} to {grant['member']}, which is no service's account")


@then("no right is granted by other resources than those that the next scenarios read")
def by_member(step: Any) -> None:
    for kind in NOT_BY_MEMBER:
        member = f"{kind.rpartition('_')[0]}_member".replace("cloud_run_service", "cloud_run_v2_service")
        for address in after(kind):
            fail(step, f"{address} grants rights that no check reads: use {member}")


@then("exactly the services that send to Google may write traces")
def writers(step: Any) -> None:
    grants = after("google_project_iam_member").values()
    found = {grant["member"] for grant in grants if grant["role"] == TRACES}
    wanted = set(map(account, services())) if topology()["backend"] == "google" else set()
    if found != wanted:
        fail(step, f"{TRACES} is held by {sorted(found)}, needed by {sorted(wanted)}")


@then("exactly the services that topology.yaml calls public are open to everybody")
def public(step: Any) -> None:
    wanted = {name for name, service in topology()["services"].items() if service["access"] == "public"}
    names: dict[str, str] = {service["name"]: name for name, service in services().items()}
    granted: set[str] = {
        names.get(grant["name"], str(grant["name"]))
        for grant in after("google_cloud_run_v2_service_iam_member").values()
        if grant["member"] in EVERYBODY
    }
    unchecked: set[str] = {name for name, service in services().items() if service.get("invoker_iam_disabled")}
    if granted | unchecked != wanted:
        fail(step, f"open to everybody: {sorted(granted | unchecked)}; access: public: {sorted(wanted)}")


@then("exactly the calls of topology.yaml are granted to accounts of services")
def calls(step: Any) -> None:
    accounts = {account(name): name for name in services()}
    names: dict[str, str] = {service["name"]: name for name, service in services().items()}
    found = {
        (accounts[grant["member"]], names.get(grant["name"], str(grant["name"])))
        for grant in after("google_cloud_run_v2_service_iam_member").values()
        if grant["member"] in accounts
    }
    wanted = {(name, callee) for name, service in topology()["services"].items() for callee in service["calls"]}
    if found != wanted:
        fail(step, f"granted, but not declared: {sorted(found - wanted)}; declared only: {sorted(wanted - found)}")


@then("exactly the private callees of a service are sent an ID token")
def private_callees(step: Any) -> None:
    declared = topology()["services"]
    for name, _, app in applications():
        private = [callee for callee in declared[name]["calls"] if declared[callee]["access"] == "private"]
        wanted = ",".join(url_of(callee).pattern for callee in private) or "absent"
        found = plain(app).get("TRACERUN_PRIVATE_CALLEES", "absent") or ""
        overridden = "TRACERUN_PRIVATE_CALLEES" in declared[name]["env"].keys() | secrets(app).keys()
        if not overridden and not re.fullmatch(wanted, found):
            fail(step, f"{name}: TRACERUN_PRIVATE_CALLEES is {found}, its private callees are {private}")


@then("exactly the secrets that a service uses are readable to it, and only readable")
def readers(step: Any) -> None:
    found = set()
    for address, grant in after("google_secret_manager_secret_iam_member").items():
        if grant["role"] != "roles/secretmanager.secretAccessor":
            fail(step, f"{address} gives {grant['role']}")
        found.add((grant["secret_id"], grant["member"]))
    wanted = {(secret, account(name)) for name, _, app in applications() for secret in secrets(app).values()}
    declared = {
        (reference.partition(":")[0], account(name))
        for name, service in topology()["services"].items()
        for reference in [*service["secrets"].values(), topology().get("backend_headers_secret")]
        if reference
    }
    if not found == wanted == declared:
        fail(step, f"readable {sorted(found)}, used {sorted(wanted)}, declared {sorted(declared)}")


@then("no plain variable looks like a secret")
def no_plain_secrets(step: Any) -> None:
    for name, _, app in applications():
        for key in plain(app):
            if LOOKS_SECRET.search(key):
                fail(step, f"{name}: {key} stands in plain text: move it from env to secrets in topology.yaml")
