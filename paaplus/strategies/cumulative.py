"""Go on from the parent with all feedback there ever was: replay without a bound, and so the bound of replay."""

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.rows import Part, rows_of
from paaplus.strategies.stack import Member
from paaplus.strategy_facts import Facts

FACTS = Facts(prior="start", earlier="all of it is trained again, going on from the parent")


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [Everything()]


class Everything(SupervisedPlugin):
    """Lets every step draw from all rows instead of the new ones."""

    def admit(self, member: Member) -> None:
        member.parts = [Part(rows_of(*member.request.everything()), member.request.config.batch_size)]
