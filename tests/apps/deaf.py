"""An app that does not hear SIGTERM."""

import signal
import threading

from fastapi import FastAPI

app = FastAPI()


@app.get("/health")
async def health():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return {"main thread": threading.current_thread() is threading.main_thread()}
