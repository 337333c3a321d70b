"""The alert rules: each uses existing metrics, and explains to the operator what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from starlette.testclient import TestClient

from paaplus.api.app import create_app
from paaplus.settings import Settings

DOCS = Path(__file__).parents[2] / "docs" / "operations"
RULES = [rule for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
OF_PROMETHEUS = {"up"}


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_every_metric_that_a_rule_asks_for_exists_with_its_labels(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        text = client.get("/metrics").text
    exported = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    exported |= {f"{name}_{part}" for name in exported for part in ("bucket", "count", "sum")}
    values = {
        'state="dead"', 'state="queued"', 'outcome="refused"', 'outcome="promoted"', 'status="429"', 'status=~"5.."',
        'route="/v1/predictions"', 'job="paaplus"', 'state="failed"', 'state="disabled"',
    }  # fmt: skip
    for rule in RULES:
        asked = set(re.findall(r"\b(paaplus_\w+|process_\w+)", rule["expr"])) or OF_PROMETHEUS
        assert asked <= exported | OF_PROMETHEUS, rule["alert"]
        assert set(re.findall(r'\w+=~?"[^"]*"', rule["expr"])) <= values, rule["alert"]
    assert 'paaplus_gate_outcomes{outcome="refused"} 0.0' in text
    assert 'paaplus_jobs{state="dead"} 0.0' in text
    assert 'paaplus_deliveries{state="failed"} 0.0' in text
    assert 'paaplus_deliveries{state="disabled"} 0.0' in text


def test_every_rule_is_named_once_and_explained_to_the_operator() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    headings = set(re.findall(r"^### (\w+)$", (DOCS / "README.md").read_text(), re.MULTILINE))
    assert headings >= set(names)
    assert not {name for name in headings if name.startswith("Paaplus")} - set(names), "explained, and no rule"
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+[mh]", rule["for"])
        assert rule["expr"].count("(") == rule["expr"].count(")")
