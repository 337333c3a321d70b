"""A learner: an adapter kind and the strategy that trains it, as the studies name them."""

from __future__ import annotations

from dataclasses import dataclass

from paaplus.configs import ADAPTER_STRATEGIES, PRIOR_STRATEGIES
from paaplus.errors import InvalidInput


@dataclass(frozen=True)
class Learner:
    """An adapter kind and a strategy, written `adapter:strategy` with the options `+prior` and `+asked`.

    Attributes:
        adapter: kind of adapter, e.g. `taste_vector`.
        strategy: name of the strategy, e.g. `bayes`.
        prior: the closed form starts from a taste prior that was fitted on the train people; without it, from the
            base model's own prior.
        asked: the person rates the k most informative images (`scoring.acquisition.informative_order`); without it,
            the first k of the split's support.
    """

    adapter: str
    strategy: str
    prior: bool = False
    asked: bool = False

    @property
    def name(self) -> str:
        options = "".join(f"+{option}" for option in ("prior", "asked") if getattr(self, option))
        return f"{self.adapter}:{self.strategy}{options}"

    @classmethod
    def parse(cls, text: str) -> Learner:
        """Read a learner's name.

        Raises:
            InvalidInput: an unknown adapter or option, or a strategy that cannot train the adapter.
        """
        plain, *options = text.split("+")
        adapter, _, strategy = plain.partition(":")
        if strategy not in ADAPTER_STRATEGIES.get(adapter, ()) or not set(options) <= {"prior", "asked"}:
            known = [f"{kind}:{name}" for kind, names in ADAPTER_STRATEGIES.items() for name in names]
            raise InvalidInput(f"learner {text!r}; known: {', '.join(known)}; options: +prior, +asked")
        if "prior" in options and strategy not in PRIOR_STRATEGIES:
            able = " and ".join(f"`{name}`" for name in PRIOR_STRATEGIES)
            raise InvalidInput(f"learner {text!r}: a learned taste prior is what only {able} can start from")
        return cls(adapter, strategy, "prior" in options, "asked" in options)
