"""What logs say after a full run of API and worker at DEBUG: ids to search by, and nobody's words, names or keys."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from sqlalchemy.engine import make_url

from paaplus.db.engine import Database
from paaplus.settings import Settings
from tests.e2e.use_with_canaries import CANARY
from tests.support.forks import ForkedCommand

PASSWORD = "canary-password"


def test_logs_carry_ids_and_nothing_that_a_caller_said(settings: Settings, database: Database, tmp_path: Path) -> None:
    url = make_url(settings.database_url)
    if url.get_backend_name() == "postgresql" and url.password is None:
        url = url.set(password=PASSWORD)  # which a server that trusts everybody does not look at
    environment = os.environ | {
        "PAAPLUS_HOME": str(settings.home),
        "PAAPLUS_DATABASE_URL": url.render_as_string(hide_password=False),
        "PAAPLUS_HOLDOUT_KEY": "canary-holdout",
    }
    told, logged = tmp_path / "told", tmp_path / "logged"
    program = [sys.executable, "-m", "tests.e2e.use_with_canaries"]
    code = ForkedCommand(program, environment, told, logged).wait(200)
    assert code == 0, logged.read_text()[-3000:]
    *tokens, user_id = told.read_text().split()
    entries = [json.loads(line) for line in logged.read_text().splitlines()]
    entries = [entry for entry in entries if entry["logger"] != "httpx2"]  # the caller's own

    for secret in (CANARY, PASSWORD, "canary-holdout", "test-app", *tokens, *(token[4:] for token in tokens)):
        assert [entry for entry in entries if secret in json.dumps(entry, ensure_ascii=False)] == [], secret
    acts = [entry for entry in entries if entry["message"] == "audit"]
    asked = [entry for entry in acts if "request_id" in entry]
    assert {"key_created", "policy_set", "retrain_requested", "user_erased"} <= {entry["action"] for entry in asked}
    assert all(entry["key_id"] in entry["actor"] for entry in asked)
    trained = [entry for entry in entries if entry["message"] == "job done" and entry["user_id"] == user_id]
    assert trained
    assert all(entry["job_id"] for entry in trained)
