"""Run the demo from data to report. It uses the platform only over HTTP and by the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from paaplus.client import NotInTime, NotReached, RequestFailed
from paaplus.data.builtin_set.build import NUM_VARIANTS, write_builtin_set
from paaplus.data.folder import read_folder
from paaplus.demo.application import Application
from paaplus.demo.failure import DemoFailed
from paaplus.demo.loop import ask, correction_events, rating_events
from paaplus.demo.plan import Person, Plan, make_plan
from paaplus.demo.platform import Platform
from paaplus.demo.report.build import Run, build_report, learned_by
from paaplus.demo.report.page import build_page
from paaplus.demo.report.strip import make_strip
from paaplus.demo.report.trio import make_trio
from paaplus.demo.rollback import choose, roll_back
from paaplus.demo.rubbish import Refusal, post_rubbish
from paaplus.demo.terminal import Steps, commands_to_try, results_table

APPLICATION = "demo"


@dataclass(frozen=True)
class DemoResult:
    """The files of the report, and the report itself."""

    report: dict[str, Any]
    json_file: Path
    html_file: Path


def run_demo(
    data: Path | None = None,
    folder: Path = Path("var/demo"),
    *,
    num_people: int = 12,
    increment_size: int = 40,
    num_variants: int = NUM_VARIANTS,
    seed: int = 0,
    console: Console | None = None,
) -> DemoResult:
    """Run the whole loop and write `report.json` and `report.html` into `folder`.

    Args:
        data: folder of real ratings; None: the built-in set with simulated people.
        folder: of the report; the platform is in `folder/home`, which is emptied first, except for cached features.
        num_people: people with an adapter; the ratings of all others train the base model.
        increment_size: ratings per person and increment; there are three increments.
        num_variants: pictures of each scene of the built-in set.
        seed: of every choice.
        console: where progress is shown.

    Raises:
        DemoFailed: a step failed, or the rollback broke a promise. The report is written before, if possible.
        InvalidInput: the data folder is wrong, or has too few people or ratings.
    """
    console = console or Console()
    platform = Platform(folder / "home")
    try:
        with platform:
            return _DemoRun(platform, folder, console).run(data, num_variants, num_people, increment_size, seed)
    except (DemoFailed, RequestFailed, NotReached, NotInTime) as error:
        tails = platform.log_tails()
        raise DemoFailed(f"{error}\n{tails}" if tails else str(error)) from error


class _DemoRun:
    """The steps, in order, with a line of progress for each."""

    def __init__(self, platform: Platform, folder: Path, console: Console) -> None:
        self.platform = platform
        self.folder = folder
        self.console = console
        self.steps = Steps(console)

    def run(self, data: Path | None, num_variants: int, num_people: int, increment_size: int, seed: int) -> DemoResult:
        run = self._prepare(data, num_variants, num_people, increment_size, seed)
        plan = run.plan
        key = self._start()
        client = Application(self.platform.url, key)
        try:
            policies = self._create_users(client, plan)
            image_ids = self._register(client, run)
            run.base_model = self._train_base(run)
            with self.steps.step("scores before any feedback"):
                run.rounds.append(ask(client, plan.people, image_ids))
            for number in range(len(plan.people[0].increments)):
                self._increment(client, run, image_ids, number)
            run.learned = {person.user_id: learned_by(client, person) for person in plan.people}
            person, round_number = choose(plan.people, run.rounds)
            with self.steps.step("rollback"):
                run.proof = roll_back(
                    self.platform,
                    client,
                    APPLICATION,
                    person,
                    policies[person.user_id],
                    run.rounds[round_number][person.user_id],
                    run.rounds[-1][person.user_id],
                    image_ids,
                    run.folder.scale,
                )
            with self.steps.step("a batch of random ratings"):
                run.rubbish = self._post_rubbish(client, run, image_ids, person)
            some_image = image_ids[person.unseen[0]]
        finally:
            client.close()
        return self._finish(run, person, some_image)

    def _prepare(self, data: Path | None, num_variants: int, num_people: int, increment_size: int, seed: int) -> Run:
        self.platform.wipe()
        for report in ("report.json", "report.html"):
            (self.folder / report).unlink(missing_ok=True)  # an old report must not be taken for this run's
        with self.steps.step("data"):
            path = data or self.folder / "data"
            if data is None:
                write_builtin_set(path, num_variants=num_variants)
            folder = read_folder(path)
            plan = make_plan(folder, num_people=num_people, increment_size=increment_size, seed=seed)
        kind = "simulated" if plan.people[0].is_simulated else "real"
        self.console.print(
            f"  {len(plan.people)} {kind} people, {plan.num_scenes} scenes ({plan.num_unseen_scenes} held out), "
            f"{len(plan.images)} images, 3 increments of {len(plan.people[0].increments[0])} ratings",
            highlight=False,
            soft_wrap=True,
        )
        return Run(folder=folder, is_builtin=data is None, plan=plan, base_model={}, seconds=self.steps.seconds)

    def _train_base(self, run: Run) -> dict[str, Any]:
        """A base model of the demo's own, on other people: it knows their common taste, and no unseen image.

        The starter would know neither what simulated people have in common, nor leave real ones' images unseen.
        """
        people, images = self.folder / "others.txt", self.folder / "train_images.txt"
        people.write_text("\n".join(run.plan.others) + "\n", encoding="utf-8")
        images.write_text("\n".join(run.plan.train_images) + "\n", encoding="utf-8")
        scale = f"{run.folder.scale.minimum:g},{run.folder.scale.maximum:g}"
        arguments = ["--data", str(run.folder.path), "--people", str(people), "--images", str(images), "--scale", scale]
        with self.steps.step(f"base model lite2, on {len(run.plan.others)} other people"):
            return dict(self.platform.command("base-models", "train", "lite2", *arguments, "--uploaded"))

    def _start(self) -> str:
        with self.steps.step("platform up"):
            self.platform.start()
            created = self.platform.command(
                "keys", "create", "--scope", "application", "--application", APPLICATION, "--name", "demo"
            )
        self.console.print(f"  {self.platform.url}", highlight=False)
        return str(created["key"])

    def _register(self, client: Application, run: Run) -> dict[str, str]:
        files = [run.folder.image_path(image) for image in run.plan.images]
        with self.steps.counter("upload images", len(files)) as advance:
            image_ids = client.upload_files(files, on_done=advance)
        with self.steps.progress("extract features", len(files)) as update:
            somebody = run.plan.people[0].user_id
            client.wait_for_features(somebody, list(image_ids.values()), on_progress=update)
        return image_ids

    def _create_users(self, client: Application, plan: Plan) -> dict[str, dict[str, Any]]:
        policies = {}
        for person in plan.people:
            policies[person.user_id] = {
                "adapter": person.adapter,
                "strategy": person.strategy,
                "min_new_feedback": len(person.increments[0]),
            }
            client.make_user(person.user_id, policy=policies[person.user_id])
        return policies

    def _increment(self, client: Application, run: Run, image_ids: dict[str, str], number: int) -> None:
        """Post one increment for everybody, wait for the trainings, and score again."""
        plan = run.plan
        with self.steps.counter(f"increment {number + 1}: post, train, gate", len(plan.people)) as advance:
            for person in plan.people:
                client.post_all(self._events(person, run, image_ids, number))
            client.wait_until_all_trained(
                [p.user_id for p in plan.people], lambda _: advance(), self.platform.check_alive
            )
            run.rounds.append(ask(client, plan.people, image_ids))

    def _post_rubbish(
        self, client: Application, run: Run, image_ids: dict[str, str], rolled_back: Person
    ) -> Refusal | None:
        """For the first person with a live version who was not rolled back; None: there is nobody."""
        last = run.rounds[-1]
        for person in run.plan.people:
            if person is not rolled_back and last[person.user_id].adapter_number:
                return post_rubbish(
                    self.platform,
                    client,
                    APPLICATION,
                    person,
                    image_ids,
                    run.folder.scale,
                    num=len(person.increments[0]),
                    seed=run.plan.seed,
                )
        return None

    def _events(self, person: Person, run: Run, image_ids: dict[str, str], number: int) -> list[dict[str, Any]]:
        """Ratings in the first increment; corrections of the served scores in later ones."""
        images, scale = person.increments[number], run.folder.scale
        if number == 0:
            return rating_events(person, images, image_ids, scale)
        return correction_events(person, images, run.rounds[-1][person.user_id], scale)

    def _finish(self, run: Run, person: Person, some_image: str) -> DemoResult:
        report = build_report(run)
        strip = make_strip(run.folder, run.plan, report, run.rounds[-1])
        trio = make_trio(run.folder, run.plan, run.rounds)
        report["trio"] = trio.to_dict() if trio else None
        commands = commands_to_try(self.platform.home, APPLICATION, person.user_id, some_image)
        result = DemoResult(report, self.folder / "report.json", self.folder / "report.html")
        result.json_file.write_text(json.dumps(report, indent=1), encoding="utf-8")
        result.html_file.write_text(build_page(report, strip, commands, trio), encoding="utf-8")
        self._show(result, commands)
        if not report["rollback_bit_for_bit"]:
            raise DemoFailed("after the rollback the scores differ from those recorded before")
        if not report["rollback_not_undone"]:
            raise DemoFailed(f"the next training undid the rollback: {json.dumps(report['rollback'], indent=1)}")
        return result

    def _show(self, result: DemoResult, commands: list[tuple[str, str]]) -> None:
        report, console = result.report, self.console
        console.print(results_table(report))
        gain = report["gain"]
        console.print(
            f"gain over generic [bold]{gain['mean']:+.3f}[/bold] SRCC (95 % interval {gain['interval'][0]:+.3f} to "
            f"{gain['interval'][1]:+.3f}), {report['users_better']} of {report['num_users']} people better, forgetting "
            f"{report['forgetting']:+.3f}, gate refused {report['gate_refused']} of {report['num_trainings']}",
            highlight=False,
            soft_wrap=True,
        )
        proof = report["rollback"]
        target = proof["to_number"] if proof["to_number"] is not None else "the base model"
        console.print(
            f"rollback of {escape(proof['user_id'])}, version {proof['from_number']} to {target}: "
            f"{proof['num_scores']} scores {'equal bit for bit' if proof['bit_for_bit'] else '[red]DIFFER[/red]'}; "
            f"{'not undone' if proof['not_undone'] else '[red]UNDONE[/red]'} by version {proof['next_version']}",
            highlight=False,
            soft_wrap=True,
        )
        if (rubbish := report["rubbish"]) is not None:
            console.print(
                f"{rubbish['num_posted']} random ratings for {escape(rubbish['user_id'])}: "
                f"{rubbish['num_set_aside']} set aside by the gate; SRCC {rubbish['srcc_before']:.3f} before, "
                f"{rubbish['srcc_after']:.3f} after",
                highlight=False,
                soft_wrap=True,
            )
        console.print(
            f"\n[bold]{escape(str(result.html_file))}[/bold]  (numbers: {escape(str(result.json_file))})\n",
            highlight=False,
        )
        console.print("[bold]To try next[/bold]")
        for what, line in commands:
            if what:
                console.print(f"[dim]# {what}[/dim]", highlight=False, soft_wrap=True)
            console.print(line, highlight=False, markup=False, soft_wrap=True)
