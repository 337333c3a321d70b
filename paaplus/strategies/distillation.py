"""Functional distillation: the parent's own scores of earlier images, and softly of new ones, are kept.

Earlier ratings are not looked at, only the images that they were about. With a pool weight of 1, each counts like a
rating that says what the parent says. Stock learning without forgetting distils class probabilities.

Source: Li & Hoiem, "Learning without forgetting" (arXiv:1606.09282), with squared differences of scores.
"""

from typing import Any

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.rows import Part, rows_of
from paaplus.strategies.stack import Member
from paaplus.strategy_facts import Facts

FACTS = Facts(
    # The parent's scores have been drawn to the prior's centre already: counting from there again would wear them down.
    prior="parent",
    earlier="the parent's scores of earlier images are kept, and softly those of new ones; no earlier rating is read",
    settings=("replay_batch_size", "distillation_pool", "distillation_batch"),
)


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [Distillation(config)]


class Distillation(SupervisedPlugin):
    """Adds images to every step whose targets are the parent's scores: some of the past, and all of the new ones."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config = config

    def admit(self, member: Member) -> None:
        config, request = self.config, member.request
        pool = rows_of(request.past, request.past_compared).images()
        parts = []
        if len(pool) and len(member.new):
            new = member.new.images()
            parts.append(Part(pool, config.replay_batch_size, config.distillation_pool))
            parts.append(Part(new, None, config.distillation_batch * len(member.new) / len(new)))
        member.kept[self] = [part for part in parts if part.soft_weight]
        member.parts += member.kept[self]

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        stack = strategy.experience.dataset
        kept = [member.kept[self] for member in stack.members]
        for which in (0, 1):
            parts = {u: own[which] for u, own in enumerate(kept) if len(own) > which}
            for u, score_VA in stack.scores(parts).items():
                stack.teach(u, parts[u], score_VA)
