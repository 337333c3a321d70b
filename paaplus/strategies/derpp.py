"""Dark experience replay++: replay, and buffered rows also keep the scores that the model gave when it learned them.

Source: Buzzega et al., "Dark experience for general continual learning" (arXiv:2004.07211), with squared differences
of scores. The stock one sorts its buffer by class and computes cross-entropies.
Shape letters: K = kept rows, V = their images, A = aspects; the 2 in K2A are the two images of a comparison.
"""

from typing import Any

import numpy as np

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.replay import Replay
from paaplus.strategies.rows import Part
from paaplus.strategies.stack import Member, Stack
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="start",
    earlier="replay, and buffered rows also keep the scores that the model gave when it learned them",
    remembers=("buffer", "dark"),
    settings=("buffer_size", "replay_batch_size", "derpp_alpha"),
)


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [DarkReplay(config)]


class DarkReplay(Replay):
    """Replay whose buffer remembers scores, by sequence number; those of a row that goes, go with it."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(config)
        self.alpha = config.derpp_alpha

    def admit(self, member: Member) -> None:
        super().admit(member)
        buffered, dark_2A = member.parts[-1].rows, {}
        if "dark_K2A" in member.state:
            dark_2A = dict(zip(member.state["dark_sequence_K"].tolist(), member.state["dark_K2A"], strict=True))
        member.kept[self] = dark_2A = self._in_buffer(member, dark_2A)
        known_K = np.flatnonzero(np.isin(buffered.sequence_N, list(dark_2A)))
        if len(known_K) and self.alpha:
            rows = buffered.take(known_K)
            dark_K2A = np.stack([dark_2A[sequence] for sequence in rows.sequence_N.tolist()])
            dark_VA = np.concatenate([dark_K2A[:, 0], dark_K2A[rows.second_N >= 0, 1]])
            member.parts.append(Part(rows, self.batch_size_mem, self.alpha, dark_VA))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        super().after_training_exp(strategy, **kwargs)
        stack: Stack = strategy.experience.dataset
        new = {u: member.parts[0] for u, member in enumerate(stack.members)}
        first, second = stack.scores(new), stack.scores(new, which=1)
        for u, member in enumerate(stack.members):
            dark_N2A = np.stack([first[u].cpu().numpy(), second[u].cpu().numpy()], axis=1)
            dark_N2A[member.new.second_N < 0, 1] = np.nan
            new_2A = dict(zip(member.new.sequence_N.tolist(), dark_N2A, strict=True))
            member.kept[self] = self._in_buffer(member, member.kept[self] | new_2A)

    def _in_buffer(self, member: Member, dark_2A: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        kept = set(member.sample.sequence_K.tolist())
        return {sequence: each for sequence, each in dark_2A.items() if sequence in kept}

    def arrays(self, stack: Stack, u: int) -> dict[str, np.ndarray]:
        dark_2A, arrays = stack.members[u].kept[self], super().arrays(stack, u)
        if dark_2A:
            arrays["dark_sequence_K"] = np.array(list(dark_2A), np.int64)
            arrays["dark_K2A"] = np.stack(list(dark_2A.values()))
        return arrays
