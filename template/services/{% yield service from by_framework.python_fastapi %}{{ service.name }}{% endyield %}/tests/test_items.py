import socket
from collections.abc import Callable, Iterator

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from app.main import app, get_client
from app.settings import Settings

stub = FastAPI()


@stub.get("/items/{item_id}")
async def part(item_id: int) -> dict[str, int]:
    return {"stock": item_id * 2}


@stub.get("/reviews/{item_id}")
async def reviews(item_id: int) -> list[str]:
    if item_id == 0:
        raise HTTPException(500)
    if item_id == 504:
        raise HTTPException(504)
    return ["good"]


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client
    app.dependency_overrides.clear()


@pytest.fixture
def with_settings() -> Callable[[Settings], None]:
    def override(settings: Settings) -> None:
        app.dependency_overrides[Settings.from_environment] = lambda: settings
        app.dependency_overrides[get_client] = lambda: httpx.AsyncClient(transport=httpx.ASGITransport(stub))

    return override


def test_health_answers(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}


def test_an_item_carries_the_parts_of_every_callee(
    client: TestClient, with_settings: Callable[[Settings], None]
) -> None:
    with_settings(Settings(callees={"stock": "http://stock"}, upstream_url=None))
    assert client.get("/items/21").json() == {"id": 21, "name": "Item 21", "parts": {"stock": {"stock": 42}}}


def test_a_malformed_item_id_is_the_callers_error(client: TestClient) -> None:
    assert client.get("/items/one").status_code == 422


def test_reviews_come_from_upstream(client: TestClient, with_settings: Callable[[Settings], None]) -> None:
    with_settings(Settings(callees={}, upstream_url="http://upstream"))
    assert client.get("/items/1/reviews").json() == ["good"]


def test_a_failing_upstream_is_a_502_that_names_it(
    client: TestClient, with_settings: Callable[[Settings], None]
) -> None:
    with_settings(Settings(callees={}, upstream_url="http://upstream"))
    response = client.get("/items/0/reviews")
    assert response.status_code == 502
    assert "upstream" in response.json()["detail"]


def test_an_upstream_that_is_too_late_is_a_504_that_names_it(
    client: TestClient, with_settings: Callable[[Settings], None]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with_settings(Settings(callees={}, upstream_url=f"http://{address}"))
        app.dependency_overrides[get_client] = lambda: httpx.AsyncClient(timeout=0.2)
        response = client.get("/items/1/reviews")
    assert response.status_code == 504
    assert address in response.json()["detail"]


def test_an_upstream_that_waited_too_long_itself_is_a_504(
    client: TestClient, with_settings: Callable[[Settings], None]
) -> None:
    with_settings(Settings(callees={}, upstream_url="http://upstream"))
    response = client.get("/items/504/reviews")
    assert response.status_code == 504
    assert "upstream" in response.json()["detail"]


def test_without_an_upstream_reviews_are_a_503(client: TestClient, with_settings: Callable[[Settings], None]) -> None:
    with_settings(Settings(callees={}, upstream_url=None))
    assert client.get("/items/1/reviews").status_code == 503


def test_settings_name_the_callees_after_their_variables() -> None:
    settings = Settings.from_environment({"PRICE_LIST_URL": "http://p", "UPSTREAM_URL": "http://u", "PORT": "1"})
    assert settings == Settings(callees={"price-list": "http://p"}, upstream_url="http://u")
