"""The demo's result as one JSON document: measurements, people, data and versions."""

from __future__ import annotations

import platform as machine
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from paaplus import __version__
from paaplus.data.folder import DataFolder
from paaplus.demo.application import Application
from paaplus.demo.loop import Served
from paaplus.demo.plan import Person, Plan
from paaplus.demo.rollback import Proof
from paaplus.demo.rubbish import Refusal
from paaplus.demo.statistics import agreement, mean_interval

FORMAT = "paaplus-demo-1"


@dataclass
class Run:
    """The observations of a demo, in order."""

    folder: DataFolder
    is_builtin: bool
    plan: Plan
    base_model: dict[str, Any]
    rounds: list[dict[str, Served]] = field(default_factory=list)  # before, and after each increment
    learned: dict[str, dict[str, Any]] = field(default_factory=dict)  # user_id -> versions and runs
    proof: Proof | None = None
    rubbish: Refusal | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # step -> wall clock


def learned_by(client: Application, person: Person) -> dict[str, Any]:
    """A person's versions with the gate's reasons, oldest first, and the time of the trainings."""
    versions = []
    for item in reversed(client.versions(person.user_id)):
        detail = client.version(person.user_id, item.number)
        report = detail.gate_report or {}
        versions.append(
            {
                "number": detail.number,
                "state": detail.state,
                "num_ratings": detail.num_ratings,
                "size_bytes": detail.size_bytes,
                "digest": detail.digest,
                "promoted": bool(report.get("promote")),
                "reason": report.get("reason", ""),
            }
        )
    runs = client.call("GET", f"/v1/users/{person.user_id}/metrics")["runs"]
    seconds = sum(value for run in runs for value in run["timings"].values())
    return {"versions": versions, "num_trainings": len(runs), "training_seconds": seconds}


def build_report(run: Run) -> dict[str, Any]:
    """The document that `report.json` holds and `report.html` shows.

    Raises:
        KeyError: a score is missing.
        UndefinedMetric: all scores of a person are equal.
    """
    plan = run.plan
    people = [_person_report(person, run) for person in plan.people]
    gains = [p["gain"] for p in people]
    low, high = mean_interval(gains, plan.seed)
    kinds = sorted({p["kind"] for p in people})
    versions = [v for p in people for v in p["versions"]]
    return {
        "format": FORMAT,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": str(run.folder.path),
        "data_kind": "built-in" if run.is_builtin else "given",
        "people_kind": kinds[0] if len(kinds) == 1 else "mixed",
        "people": people,
        "num_users": len(people),
        "num_other_people": len(plan.others),
        "num_images": len(run.folder.images),
        "num_uploaded": len(plan.images),
        "num_scenes": plan.num_scenes,
        "num_unseen_scenes": plan.num_unseen_scenes,
        "num_unseen_images": len(plan.unseen_images),
        "unseen_by": "scene" if plan.has_scenes else "image",
        "scene_kinds": _scene_kinds(run.folder),
        "num_increments": len(run.rounds) - 1,
        "increment_size": len(plan.people[0].increments[0]),
        "srcc_generic": _mean(p["srcc_generic"] for p in people),
        "srcc_personal": _mean(p["srcc_personal"] for p in people),
        "srcc_by_increment": [_mean(p["srcc_by_increment"][i] for p in people) for i in range(len(run.rounds))],
        "gain": {"mean": float(np.mean(gains)), "interval": [low, high], "method": "95 % bootstrap over people"},
        "gain_by_learner": _gain_by_learner(people),
        "users_better": sum(gain > 0 for gain in gains),
        "forgetting": _mean(p["forgetting"] for p in people),
        "num_trainings": sum(p["num_trainings"] for p in people),
        "gate_promoted": sum(v["promoted"] for v in versions),
        "gate_refused": sum(not v["promoted"] for v in versions),
        "rollback_bit_for_bit": run.proof.bit_for_bit if run.proof else None,
        "rollback_not_undone": run.proof.not_undone if run.proof else None,
        "rollback": run.proof.to_dict() if run.proof else None,
        "rubbish": run.rubbish.to_dict() if run.rubbish else None,
        "seconds_per_user": _mean(p["seconds"] for p in people),
        "bytes_per_user": round(_mean(p["bytes"] for p in people)),
        "base_model": {
            name: run.base_model.get(name) for name in ("name", "version", "digest", "aspects", "config", "metrics")
        },
        "seeds": {"plan": plan.seed},
        "versions": {"paaplus": __version__, "python": machine.python_version(), "numpy": np.__version__},
        "seconds": {name: round(value, 2) for name, value in run.seconds.items()},
    }


def _person_report(person: Person, run: Run) -> dict[str, Any]:
    served = [round_[person.user_id] for round_ in run.rounds]
    first_images = person.increments[0]
    generic = agreement(served[-1].generic, person.ratings, person.unseen)
    by_increment = [agreement(s.scores, person.ratings, person.unseen) for s in served]
    on_first = [agreement(s.scores, person.ratings, first_images) for s in served[1:]]
    learned = run.learned[person.user_id]
    return {
        "id": person.user_id,
        "kind": "simulated" if person.is_simulated else "real",
        "adapter": person.adapter,
        "strategy": person.strategy,
        "num_feedback": sum(len(part) for part in person.increments),
        "num_unseen": len(person.unseen),
        "srcc_generic": generic,
        "srcc_by_increment": by_increment,
        "srcc_personal": by_increment[-1],
        "gain": by_increment[-1] - generic,
        "srcc_first_increment": on_first,
        "forgetting": on_first[0] - on_first[-1],
        "live_by_increment": [s.adapter_number for s in served],
        "versions": learned["versions"],
        "num_trainings": learned["num_trainings"],
        "seconds": learned["training_seconds"],
        "bytes": max((v["size_bytes"] for v in learned["versions"] if v["state"] == "active"), default=0),
    }


def _scene_kinds(folder: DataFolder) -> dict[str, int]:
    """Number of scenes of each kind (photograph, synthetic), if the folder names kinds."""
    kind_of: dict[int, str] = {}
    for image, scene in zip(folder.images, folder.scene_I, strict=True):
        kind_of[int(scene)] = folder.image_columns.get(image, {}).get("kind") or "photograph"
    kinds = sorted(set(kind_of.values()))
    return {kind: sum(k == kind for k in kind_of.values()) for kind in kinds}


def _gain_by_learner(people: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    names = sorted({f"{p['adapter']} + {p['strategy']}" for p in people})
    return {name: _mean(p["gain"] for p in people if f"{p['adapter']} + {p['strategy']}" == name) for name in names}


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))
