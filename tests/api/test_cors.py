"""Pages of other origins may call the API only where a setting names them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from paaplus.api.app import create_app
from paaplus.settings import Settings

ORIGIN = "https://app.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
}


@pytest.fixture(params=["sqlite"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_client(settings: Settings) -> Iterator[TestClient]:
    chosen = settings.model_copy(update={"cors_origins": f"https://other.example, {ORIGIN}/"})
    with TestClient(create_app(chosen)) as client:
        yield client


def test_no_page_may_by_default(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        answers = [client.get("/healthz", headers={"Origin": ORIGIN}), client.options("/v1/users", headers=PREFLIGHT)]
    assert not [name for answer in answers for name in answer.headers if name.startswith("access-control")]


def test_page_of_a_named_origin_may_and_sees_refusals_too(open_client: TestClient) -> None:
    preflight = open_client.options("/v1/users/ada/policy", headers=PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
    refused = open_client.get("/v1/users", headers={"Origin": ORIGIN})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, ORIGIN)
    assert "X-Request-ID" in refused.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in refused.headers, "keys go in a header, cookies are not used"


def test_page_of_another_origin_may_not(open_client: TestClient) -> None:
    foreign = {**PREFLIGHT, "Origin": "https://evil.example"}
    assert open_client.options("/v1/users", headers=foreign).status_code == 400
    assert "Access-Control-Allow-Origin" not in open_client.get("/healthz", headers=foreign).headers
