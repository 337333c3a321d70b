"""A client that a generator makes of the OpenAPI document does a round trip.

The generator needs another typer than this project, so it lives in an environment of its own:
`python -m venv DIR && DIR/bin/pip install openapi-python-client`. PAAPLUS_TEST_OPENAPI_CLIENT names the program,
DIR/bin/openapi-python-client.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paaplus.api.app import create_app
from paaplus.db.engine import Database
from paaplus.settings import Settings
from tests.api.conftest import jpeg
from tests.e2e.test_api_process import Api
from tests.support.deployment import Deployment
from tests.support.processes import running, wait_until

GENERATOR = os.environ.get("PAAPLUS_TEST_OPENAPI_CLIENT") or shutil.which("openapi-python-client")

ROUND_TRIP = """
import sys
from io import BytesIO
from paaplus_client import AuthenticatedClient
from paaplus_client.api.feedback import post_feedback
from paaplus_client.api.images import add_image
from paaplus_client.api.predictions import predict
from paaplus_client.api.users import create_user, get_user
from paaplus_client.api.webhooks import create_webhook, delete_webhook, list_webhooks
from paaplus_client import models as m
from paaplus_client.types import File

url, key, image, picture = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key, raise_on_unexpected_status=True)
user = create_user.sync(client=client, body=m.UserIn(external_id="zoe"))
body = m.BodyAddImage(file=File(open(picture, "rb"), "a.jpg", "image/jpeg"), user="zoe", name="2026/a.jpg")
uploaded = add_image.sync(client=client, body=body)
assert (uploaded.name, str(uploaded.owner_id)) == ("2026/a.jpg", str(user.id)), uploaded
ratings = m.RatingInRatings.from_dict({"beauty": 6})
scale = m.ScaleIn(min_=1, max_=7)
rating = m.RatingIn(event_id="e1", user="zoe", kind="rating", image=image, ratings=ratings, scale=scale)
first, again = (post_feedback.sync(client=client, body=rating) for _ in range(2))
assert (first.status, again.status, first.sequence) == ("accepted", "duplicate", 1)
asked = m.PredictionsIn(items=[m.PredictionItemIn(user="zoe", image=image)])
[item] = predict.sync(client=client, body=asked).items
assert get_user.sync("zoe", client=client, wait_for=1, wait_s=0.1).feedback_sequence == 1
hook = create_webhook.sync(client=client, body=m.WebhookIn(url="https://app.example/hook"))
assert [one.id for one in list_webhooks.sync(client=client).items] == [hook.id]
delete_webhook.sync_detailed(hook.id, client=client)
refused = get_user.sync("nobody", client=client)
assert refused.error.code == "not_found", refused
print(item.status, item.scores["beauty"])
"""


@pytest.mark.timeout(300)
@pytest.mark.skipif(GENERATOR is None, reason="openapi-python-client is not installed: see the head of this file")
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_generated_client_does_a_round_trip(database: Database, settings: Settings, tmp_path: Path) -> None:
    document, folder = tmp_path / "openapi.json", tmp_path / "generated"
    document.write_text(json.dumps(create_app(settings).openapi()))
    (tmp_path / "a.jpg").write_bytes(jpeg())
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    made = subprocess.run(
        [str(GENERATOR), "generate", "--path", document, "--output-path", folder, "--config", tmp_path / "config.yml"],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    left_out = [line for line in made.stdout.splitlines() if line.startswith(("WARNING", "ERROR"))]
    files = ("/content within images.", "/thumbnail within images.", "/image within reviews.", "/export within users.")
    assert [line for line in left_out if not line.endswith(files)] == [], "only answers that are files are left out"
    deployment = Deployment(database, settings, num_images=2)
    api = Api(deployment)
    with running(api.service):
        wait_until("the API is ready", api.is_ready)
        arguments = [api.url, api.key, str(deployment.images[0]), str(tmp_path / "a.jpg")]
        done = subprocess.run(
            [sys.executable, "-c", ROUND_TRIP, *arguments],
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["scored", str(float(deployment.generic_IA[0, 0]))]
