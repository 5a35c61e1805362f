"""The app as it is, served as `tracerun.serve` serves it; with `FASTAPI_OTEL_AUTO_CONFIGURE` FastAPI traces itself."""

import os

import uvicorn

if __name__ == "__main__":
    uvicorn.run("main:app", host="127.0.0.1", port=int(os.environ["PORT"]), log_config=None, access_log=False)
