"""An app of a user's that calls other services with a client of its own, and tells what it sees."""

import asyncio
import os

import httpx
from fastapi import FastAPI, Request, Response

app = FastAPI()
METADATA = f"http://{os.environ['GCE_METADATA_HOST']}/computeMetadata/v1/instance/service-accounts/default/identity"


@app.get("/health")
async def health():
    return {"status": "ok"}


@app.api_route("/headers", methods=["GET", "POST"])
async def headers(request: Request):
    return dict(request.headers)


@app.get("/wait/{seconds}")
async def wait(seconds: float):
    await asyncio.sleep(seconds)
    return {"process": os.getpid()}


@app.get("/call/{callee}/{path:path}")
async def call(callee: str, path: str, request: Request):
    """Call another service as the documentation of Cloud Run says: with an ID token of the metadata server's."""
    url = os.environ[f"{callee.upper()}_URL"]
    async with httpx.AsyncClient() as client:
        private = os.environ.get("TRACERUN_PRIVATE_CALLEES", "").split(",")
        token = {}
        if url in private:
            given = await client.get(METADATA, params={"audience": url}, headers={"Metadata-Flavor": "Google"})
            token = {"authorization": f"Bearer {given.raise_for_status().text}"}
        passed = {"traceparent": request.headers["traceparent"]}
        answer = await client.get(f"{url}/{path}", headers={**token, **passed})
    return Response(answer.content, answer.status_code, media_type="application/json")
