"""Configuration of the matching study."""

from __future__ import annotations

from dataclasses import dataclass

from paaplus.evaluation.checks import check_distinct, check_limit, check_numbers


@dataclass(frozen=True)
class State:
    """The answers that a person has given: a number of quiz pairs and a number of ratings."""

    num_pairs: int
    num_ratings: int

    @property
    def name(self) -> str:
        return f"{self.num_pairs} pairs, {self.num_ratings} ratings"


@dataclass(frozen=True)
class MatchingConfig:
    """The numbers of answers and of experts. All train people are experts; `num_experts` are smaller model bases."""

    pairs: tuple[int, ...] = (0, 4, 8, 12)
    ks: tuple[int, ...] = (5, 10, 25)
    num_experts: tuple[int, ...] = (5, 20, 100)
    seeds: tuple[int, ...] = (0, 1, 2)
    limit_people: int | None = None  # test people per seed, the first of the split

    def __post_init__(self) -> None:
        check_numbers("pairs", self.pairs)
        check_distinct("k", self.ks, least=1)
        check_distinct("experts", self.num_experts, least=2)
        check_numbers("seeds", self.seeds)
        check_limit(self.limit_people)

    @property
    def states(self) -> tuple[State, ...]:
        """Pairs alone, ratings alone, and ratings after all pairs."""
        quizzed = [max(self.pairs)] if max(self.pairs) else []
        return (
            *(State(num_pairs, 0) for num_pairs in self.pairs),
            *(State(num_pairs, k) for num_pairs in (0, *quizzed) for k in self.ks),
        )

    @property
    def few_experts_states(self) -> tuple[State, ...]:
        """The states in which smaller model bases are measured: no pairs or all, no ratings or the middle k."""
        ks = {0, *self.ks[len(self.ks) // 2 :][:1]}
        return tuple(
            state for state in self.states if state.num_pairs in (0, max(self.pairs)) and state.num_ratings in ks
        )
