"""An app that queries a database."""

from fastapi import FastAPI
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine("sqlite://")


@app.get("/health")
async def health():
    return {"status": "ok"}


@app.get("/query")
def query():
    with engine.connect() as connection:
        return connection.execute(text("SELECT :value"), {"value": "secret"}).scalar()
