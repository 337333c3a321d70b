"""The paper's three stages over HTTP: pre-training with tools and experts, matching, and continual learning.

Experts and users are people of a data folder, and their answers come from their ratings. The demo uses only public
interfaces of the platform.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from paaplus.client import NotInTime, NotReached, RequestFailed
from paaplus.data.builtin_set.build import write_builtin_set
from paaplus.data.folder import read_folder
from paaplus.demo.application import Application
from paaplus.demo.failure import DemoFailed
from paaplus.demo.platform import Platform
from paaplus.demo.stages.acts import rating_event, review_all, scores_of, take_quiz
from paaplus.demo.stages.plan import FEEDBACK_A_TIME, NUM_INCREMENTS, make_stages_plan
from paaplus.demo.stages.report import Played, build_stages_report, expert_lines, users_table
from paaplus.demo.terminal import Steps

APPLICATION = "stages"
TOOLS = ("generic", "sharpness", "exposure")
REVIEWS_A_ROUND = 30  # per expert and round; there are two rounds
NUM_VARIANTS = 10  # of each scene of the built-in set, all of which everybody rates
_ACCEPTED_STEPS = 0.5  # an expert accepts a label within this distance, in steps of the expert's scale
_POLICY = {"adapter": "taste_vector", "strategy": "bayes"}


def run_stages(
    data: Path | None = None,
    folder: Path = Path("var/demo"),
    *,
    num_users: int = 8,
    num_variants: int = NUM_VARIANTS,
    seed: int = 0,
    console: Console | None = None,
) -> dict[str, Any]:
    """Play the three stages and write `stages.json` into `folder`.

    Args:
        data: folder of real ratings; None: the built-in set with simulated people.
        folder: of the report; the platform is in `folder/stages`, which is emptied first, except for cached features.
        num_users: new users. Two more people are the experts; the ratings of all others train the base model.
        num_variants: pictures of each scene of the built-in set.
        seed: of every choice.
        console: where progress is shown.

    Raises:
        DemoFailed: a step failed.
        InvalidInput: the data folder is wrong, or too few people rated the same images.
    """
    console = console or Console()
    platform = Platform(folder / "stages")
    try:
        with platform:
            return _StagesRun(platform, folder, console).run(data, num_variants, num_users, seed)
    except (DemoFailed, RequestFailed, NotReached, NotInTime) as error:
        tails = platform.log_tails()
        raise DemoFailed(f"{error}\n{tails}" if tails else str(error)) from error


class _StagesRun:
    """The stages, in order, with a line of progress for each step."""

    def __init__(self, platform: Platform, folder: Path, console: Console) -> None:
        self.platform = platform
        self.folder = folder
        self.console = console
        self.steps = Steps(console)

    def run(self, data: Path | None, num_variants: int, num_users: int, seed: int) -> dict[str, Any]:
        played = self._prepare(data, num_variants, num_users, seed)
        application = Application(self.platform.url, self._key("--scope", "application", "--application", APPLICATION))
        try:
            image_ids = self._images(application, played, played.plan.images)
            self._train_base(played)
            self._pre_training(application, played, image_ids)
            self._matching(application, played, image_ids)
            unseen_ids = self._images(application, played, played.plan.unseen)
            played.served.append(scores_of(application, played.plan.users, unseen_ids))
            self._continual(application, played, image_ids, unseen_ids)
            played.served_experts = scores_of(application, played.plan.experts, unseen_ids)
        finally:
            application.close()
        report = build_stages_report(played, list(unseen_ids), self.steps.seconds)
        (self.folder / "stages.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        self._show(report)
        return report

    def _prepare(self, data: Path | None, num_variants: int, num_users: int, seed: int) -> Played:
        self.platform.wipe()
        with self.steps.step("data"):
            path = data or self.folder / "stages-data"
            if data is None:
                write_builtin_set(path, num_variants=num_variants, ratings_per_person=num_variants * 1000)
            folder = read_folder(path)
            plan = make_stages_plan(folder, num_users=num_users, seed=seed)
        kind = "simulated" if plan.is_simulated else "real"
        self.console.print(
            f"  {len(plan.experts)} experts and {len(plan.users)} new users, {kind} people; {len(plan.images)} images "
            f"that all of them rated, {len(plan.unseen)} unseen ones to judge by",
            highlight=False,
            soft_wrap=True,
        )
        with self.steps.step("platform up"):
            self.platform.start()
        return Played(plan, folder)

    def _train_base(self, played: Played) -> None:
        """A base model on other people. The platform has features of the uploaded images, by the starter's backbone."""
        with self.steps.step(f"base model lite2, on {len(played.plan.others)} other people"):
            people, images = self.folder / "stages-others.txt", self.folder / "stages-images.txt"
            people.write_text("\n".join(played.plan.others) + "\n", encoding="utf-8")
            images.write_text("\n".join(played.plan.train_images) + "\n", encoding="utf-8")
            scale = f"{played.folder.scale.minimum:g},{played.folder.scale.maximum:g}"
            arguments = [
                "--data",
                str(played.folder.path),
                "--people",
                str(people),
                "--images",
                str(images),
                "--scale",
                scale,
            ]
            self.platform.command("base-models", "train", "lite2", *arguments, "--uploaded")

    def _key(self, *arguments: str) -> str:
        return str(self.platform.command("keys", "create", "--name", "stages", *arguments)["key"])

    def _images(self, client: Application, played: Played, names: Sequence[str]) -> dict[str, str]:
        files = [played.folder.image_path(name) for name in names]
        with self.steps.counter(f"upload {len(files)} images", len(files)) as advance:
            image_ids = client.upload_files(files, on_done=advance)
        client.make_user("curator")  # features are requested for this user, who rates nothing
        with self.steps.progress(f"features of {len(files)} images", len(files)) as update:
            client.wait_for_features("curator", list(image_ids.values()), on_progress=update)
        return {name: image_ids[Path(name).name] for name in names}

    def _pre_training(self, client: Application, played: Played, image_ids: dict[str, str]) -> None:
        """Stage 1: tools label, experts review, tools are revised, and every expert gets a model."""
        plan, scale = played.plan, played.folder.scale
        name_of = {image_id: name for name, image_id in image_ids.items()}
        with self.steps.step(f"stage 1: {', '.join(TOOLS)} label"):
            job = client.call("POST", "/v1/pseudo-labels", {"tools": list(TOOLS)})
            client.wait_for_success(job["job_id"], self.platform.check_alive)
        keys = {}
        for expert in plan.experts:
            policy = _POLICY | {"min_new_feedback": REVIEWS_A_ROUND}
            user = client.make_user(expert.user_id, policy=policy)
            client.call(
                "PUT", f"/v1/experts/{expert.user_id}", {"name": f"expert {expert.user_id}", "domain": "photographs"}
            )
            keys[expert.user_id] = self._key("--scope", "expert", "--user", user.id)
        tolerance = _ACCEPTED_STEPS * scale.to_score(scale.minimum + 1)
        for number in (1, 2):
            with self.steps.step(f"stage 1: experts review, round {number}"):
                batch = client.call(
                    "POST",
                    "/v1/review-batches",
                    {
                        "name": f"round {number}",
                        "experts": [expert.user_id for expert in plan.experts],
                        "overlap": 1.0,
                        "limit": REVIEWS_A_ROUND,
                    },
                )
                done = {}
                for expert in plan.experts:
                    own = Application(self.platform.url, keys[expert.user_id])
                    try:
                        done[expert.user_id] = review_all(own, expert, batch["id"], name_of, scale, tolerance)
                    finally:
                        own.close()
                played.rounds.append(done)
                played.agreement = client.call("GET", f"/v1/review-batches/{batch['id']}")["agreement"]
                if number == 1:
                    client.call("POST", "/v1/tools/generic/revisions", {})
        with self.steps.counter("stage 1: a model for every expert", len(plan.experts)) as advance:
            names = [expert.user_id for expert in plan.experts]
            client.wait_until_all_trained(names, lambda _: advance(), self.platform.check_alive)
            played.experts = [client.call("GET", f"/v1/experts/{name}") for name in names]

    def _matching(self, client: Application, played: Played, image_ids: dict[str, str]) -> None:
        """Stage 2: a quiz and a match for every new user."""
        name_of = {image_id: name for name, image_id in image_ids.items()}
        with self.steps.counter("stage 2: quiz and match", len(played.plan.users)) as advance:
            for user in played.plan.users:
                client.make_user(user.user_id, policy=_POLICY | {"min_new_feedback": FEEDBACK_A_TIME})
                played.quizzes[user.user_id] = take_quiz(client, user, name_of)
                played.matches[user.user_id] = client.call("POST", f"/v1/users/{user.user_id}/match")
                advance()

    def _continual(
        self, client: Application, played: Played, image_ids: dict[str, str], unseen_ids: dict[str, str]
    ) -> None:
        """Stage 3: ratings, training, gate, new scores."""
        users, scale = played.plan.users, played.folder.scale
        for number in range(NUM_INCREMENTS):
            with self.steps.counter(f"stage 3: {FEEDBACK_A_TIME} ratings each, train, gate", len(users)) as advance:
                for user in users:
                    names = user.order[number * FEEDBACK_A_TIME : (number + 1) * FEEDBACK_A_TIME]
                    client.post_all([rating_event(user, name, image_ids[name], scale) for name in names])
                client.wait_until_all_trained(
                    [u.user_id for u in users], lambda _: advance(), self.platform.check_alive
                )
            played.served.append(scores_of(client, users, unseen_ids))

    def _show(self, report: dict[str, Any]) -> None:
        for line in expert_lines(report):
            self.console.print(line, highlight=False, soft_wrap=True)
        self.console.print(users_table(report))
        matched, final = report["gain"]["matched"], report["gain"]["final"]
        self.console.print(
            f"gain over generic: matched {matched['mean']:+.3f} SRCC, after feedback [bold]{final['mean']:+.3f}[/bold] "
            f"(95 % interval {final['interval'][0]:+.3f} to {final['interval'][1]:+.3f}), "
            f"{report['users_better']} of {len(report['users'])} people better\n{escape(f'{self.folder}/stages.json')}",
            highlight=False,
            soft_wrap=True,
        )
