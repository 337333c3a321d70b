"""Requests made up from the OpenAPI document: none breaks the server, and every answer is one that it describes."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import requests
import schemathesis
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core import NOT_SET
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from paaplus.api import schemas
from paaplus.api.schemas.common import In
from paaplus.db.tables import ExposureRatingRow
from paaplus.db.tables.models import AdapterState
from paaplus.db.types import utcnow
from paaplus.scoring.exposure_rules import PRESETS
from paaplus.services.images import maps
from paaplus.services.reviews import pseudo_labels
from paaplus.tools.tool import Judgement
from tests.api.conftest import World
from tests.support.factories import make_image, make_job

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# Of each operation, in each mode. PostgreSQL's twin looks for values that it alone refuses (too large, no text), which
# all operations share: two for each are hundreds. By name they stand in tests/paaplus/test_texts.py, test_numbers.py.
NUM_EXAMPLES = {
    ("sqlite", GenerationMode.POSITIVE): 3,
    ("sqlite", GenerationMode.NEGATIVE): 5,
    ("postgresql", GenerationMode.POSITIVE): 2,
}
OTHER_KEYS = ("/v1/reviews/", "/v1/webhooks")  # of experts and applications: the admin's key does not open them
# Would end the world that the other requests need: revoking is asked for with made-up ids only.
KEEPS = {
    "DELETE /v1/users/{user}",
    "DELETE /v1/images/{image_id}",
    "DELETE /v1/keys/{key_id}",
    "POST /v1/keys/{key_id}/rotate",
}


def known_names(world: World) -> dict[str, Any]:
    """What exists, by the names under which requests ask for it: made-up ids alone would only ever find nothing."""
    with world.database.session() as session:
        job = make_job(session, user_id=world.ada).id
    image = str(world.images[0])
    exposure_of_ada(world)
    return reviewed_things(world) | {
        "user": str(world.ada),
        "image": image,
        "image_id": image,
        "other_image": str(world.images[1]),
        "job_id": str(job),
        "number": 1,
        "a": 1,
        "b": 2,
        "aspect": "beauty",
        "application": "test-app",
        "users": [str(world.ada)],
        "images": [image],
        "ratings": {"beauty": 5},
        "scale": {"min": 1, "max": 7},
        "rating": 5,
        "theme": "portrait",
        "preference": {"beauty": "first"},
    }


def exposure_of_ada(world: World) -> None:
    """A file for the tool, whose bytes the API does not read, and enough rated images for a rule."""
    folder = world.context.settings.home / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exposure_map.pth").write_bytes(b"weights")
    version = maps.current_version("exposure_map", world.context.settings)
    label = Judgement({f"exposure_{preset}": 5.0 for preset in PRESETS}, {f"exposure_{p}": 1.0 for p in PRESETS})
    with world.database.session() as session:
        images = [make_image(session).id for _ in range(6)]
        pseudo_labels.store(session, "exposure_map", version, dict.fromkeys(images, label))
        session.add_all(
            ExposureRatingRow(user_id=world.ada, image_id=image, score=5.0, created_at=utcnow()) for image in images
        )


def reviewed_things(world: World) -> dict[str, Any]:
    """A label, an expert and a batch that admins may ask about. Reviews open to the expert alone."""
    with world.database.session() as session:
        label = Judgement({"beauty": 5.0}, {"beauty": 0.5})
        pseudo_labels.store(session, "generic", "1", {world.images[0]: label})
    world.admin.put(f"/v1/experts/{world.bob}", {"name": "Dr. Bob", "domain": "photographs"})
    new = {"name": "b", "experts": [str(world.bob)], "images": [str(world.images[0])], "application": "test-app"}
    return {
        "tool": "precomputed",
        "tools": ["generic"],
        "scores": {"beauty": 5.0},
        "labels": [{"image": str(world.images[1]), "scores": {"beauty": 5.0}}],
        "experts": new["experts"],
        "batch_id": world.admin.post("/v1/review-batches", new).json()["id"],
    }


def with_known(value: Any, known: dict[str, Any]) -> Any:
    """The same, with what exists in place of what was made up."""
    if isinstance(value, dict):
        return {key: known[key] if key in known else with_known(part, known) for key, part in value.items()}
    return [with_known(part, known) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("database_kind", "mode"),
    [
        ("sqlite", GenerationMode.POSITIVE),
        ("postgresql", GenerationMode.POSITIVE),
        ("sqlite", GenerationMode.NEGATIVE),  # refused before the database is asked
    ],
    indirect=["database_kind"],
)
@pytest.mark.slow
@pytest.mark.timeout(900)  # half a minute on a quiet core
def test_answers_to_made_up_requests_are_as_documented(world: World, mode: GenerationMode, database_kind: str) -> None:
    for state in (AdapterState.RETIRED, AdapterState.ACTIVE):
        world.adapter(world.ada, state=state, learner_state=b"")
    known = known_names(world)
    failures: dict[str, str] = {}
    done: set[str] = set()
    cannot_be_wrong: set[str] = set()

    def ask_all(operation: APIOperation) -> None:
        headers = dict(world.admin.headers)  # given, so that no request is only wrong by its key
        cases = operation.as_strategy(generation_mode=mode, headers=headers)
        # A batch of events is accepted with a word on each event that is wrong.
        refuses_whole = operation.label != "POST /v1/feedback"
        may_do = mode == GenerationMode.POSITIVE and operation.label not in KEEPS

        @hypothesis.settings(
            max_examples=NUM_EXAMPLES[database_kind, mode],
            derandomize=True,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(cases, st.sampled_from([True, True, False]))
        def ask(case: Case, use_known: bool) -> None:
            if use_known and may_do:
                case.path_parameters = with_known(case.path_parameters, known)
                case.query = with_known(case.query, known)
                if case.body is not NOT_SET:  # none at all, where a body is optional, is no wrong one
                    case.body = with_known(case.body, known)
            sent = requests.Request(**case.as_transport_kwargs(base_url="http://testserver")).prepare()
            response = world.client.request(sent.method, sent.url, headers=dict(sent.headers), content=sent.body)
            if response.status_code < 300:
                done.add(operation.label)
            must_refuse = refuses_whole and response.status_code != 413  # which Schemathesis does not count as such
            try:
                case.validate_response(response, checks=[*CHECKS, *([negative_data_rejection] if must_refuse else [])])
            except FailureGroup as error:
                failures.setdefault(operation.label, str(error))

        ask()

    operations = [
        result.ok() for result in schemathesis.openapi.from_asgi("/openapi.json", world.app).get_all_operations()
    ]
    for operation in operations:
        try:
            ask_all(operation)
        except hypothesis.errors.Unsatisfiable:
            cannot_be_wrong.add(operation.label)
    assert failures == {}, "\n\n".join(failures.values())
    if mode == GenerationMode.POSITIVE:
        assert cannot_be_wrong == set()
        may_be_done = [operation for operation in operations if not operation.path.startswith(OTHER_KEYS)]
        least = 2 / 3 if database_kind == "sqlite" else 1 / 2  # with fewer examples
        assert len(done) > least * len(may_be_done), "most operations were reached, not only refused"
    else:
        assert cannot_be_wrong == {
            "GET /healthz",
            "GET /readyz",
            "GET /metrics",
            "GET /v1/base-models",
            "GET /v1/tools",
        }


MODELS = [
    model
    for module in pkgutil.iter_modules(schemas.__path__)
    for model in vars(importlib.import_module(f"{schemas.__name__}.{module.name}")).values()
    if isinstance(model, type) and issubclass(model, In)
]
BOUNDS = {
    "le": ("maximum", min), "ge": ("minimum", max), "max_length": ("maxLength", min), "min_length": ("minLength", max)
}  # fmt: skip


@pytest.mark.parametrize("model", sorted(set(MODELS), key=str), ids=lambda model: model.__name__)
def test_of_two_bounds_of_a_field_the_narrower_one_holds(model: type[In]) -> None:
    """Pydantic takes the last one: that of a general type replaced a field's own, which was written before it."""
    told = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        for bound, (keyword, narrowest) in BOUNDS.items():
            given = [value for part in field.metadata if (value := getattr(part, bound, None)) is not None]
            if len(given) > 1:
                assert told[field.alias or name][keyword] == narrowest(given), (name, given)
