"""The protocols of papers on personalized aesthetics: who is tested, on which images, after how many ratings.

`source` says where a protocol comes from. Where a paper leaves something open, the choice here is in `note`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from paaplus.errors import InvalidInput

THEIRS, SPLIT = "theirs", "split"


@dataclass(frozen=True)
class Protocol:
    """How a data set is divided and measured.

    Attributes:
        name: the protocol's name; by default that of its data set.
        num_people: test people that are drawn; None: all that are eligible. A list in users.csv (`split`) comes first.
        least, most: ratings that an eligible person gave.
        held_out: `theirs`: images that a test person rated are kept from the base model. `split`: the test images of
            the release are (images.csv, `split`), and the test people are measured on these alone.
        shots: ratings that a person's model is trained on.
        num_test: images that a person is measured on; None: all others that the person rated.
        draws: times that the ratings are drawn.
        elsewhere: the base model is fitted on another data folder, because all people here are tested.
        source: where it comes from.
        note: what is ours.
    """

    name: str
    num_people: int | None
    least: int
    most: int | None
    held_out: str
    shots: tuple[int, ...]
    num_test: int | None
    draws: int
    source: str
    note: str
    elsewhere: bool = False

    def __post_init__(self) -> None:
        if not self.shots or min(self.shots) < 1 or len(set(self.shots)) != len(self.shots) or self.draws < 1:
            raise InvalidInput(f"shots {list(self.shots)} and {self.draws} draws: distinct numbers, 1 or more")

    def changed(self, shots: tuple[int, ...] | None, draws: int | None, num_people: int | None) -> Protocol:
        """With other shots, draws or people, which the name tells."""
        given = {"shots": shots, "draws": draws, "num_people": num_people}
        other = {name: value for name, value in given.items() if value and value != getattr(self, name)}
        return replace(self, name=f"{self.name} (changed)", **other) if other else self  # type: ignore[arg-type]


PROTOCOLS = {
    "flickr-aes": Protocol(
        name="flickr-aes",
        num_people=37,
        least=105,
        most=171,
        held_out=THEIRS,
        shots=(10, 100),
        num_test=None,
        draws=10,
        source="Ren et al., Personalized Image Aesthetics, ICCV 2017: 173 workers train, 37 test; 10 and 100 images",
        note="Without a list of the test workers, a seed draws them among those who rated 105 to 171 images.",
    ),
    "para": Protocol(
        name="para",
        num_people=40,
        least=160,
        most=None,
        held_out=SPLIT,
        shots=(10, 100),
        num_test=50,
        draws=10,
        source="Yang et al., PARA, CVPR 2022 (arXiv:2203.16754): 40 test users; 10 and 100 images, 50 test images",
        note="A seed draws the users. Their images are the release's test images, which the base model did not see.",
    ),
    "real-cur": Protocol(
        name="real-cur",
        num_people=None,
        least=120,
        most=None,
        held_out=THEIRS,
        shots=(10, 100),
        num_test=None,
        draws=10,
        source="Ren et al., ICCV 2017: 14 albums, each rated by its owner; the generic model is trained elsewhere",
        note="--train names an imported data set for the base model, in the papers FLICKR-AES.",
        elsewhere=True,
    ),
    "aadb": Protocol(
        name="aadb",
        num_people=22,
        least=110,
        most=None,
        held_out=THEIRS,
        shots=(10, 100),
        num_test=None,
        draws=10,
        source="from memory: 22 test workers who rated 110 images or more; no paper was at hand",
        note="A seed draws the workers.",
    ),
    "lapis": Protocol(
        name="lapis",
        num_people=40,
        least=60,
        most=None,
        held_out=SPLIT,
        shots=(10, 30),
        num_test=None,
        draws=10,
        source="ours: people of the release's first fold and its test images, where its lists are there",
        note="The paper predicts from traits of people, not from ratings: its rows cannot be compared.",
    ),
    "eva": Protocol(
        name="eva",
        num_people=40,
        least=60,
        most=None,
        held_out=THEIRS,
        shots=(10, 50),
        num_test=None,
        draws=10,
        source="ours: no paper personalizes on EVA",
        note="A seed draws the people.",
    ),
    "generic": Protocol(
        name="generic",
        num_people=None,
        least=1,
        most=None,
        held_out=SPLIT,
        shots=(1,),
        num_test=None,
        draws=1,
        source="the usual one of generic aesthetics: SRCC and PLCC with mean ratings on the release's test images",
        note="The default of AVA, TAD66K and SPAQ. Where people's own ratings are there, their means are what counts.",
    ),
}
DEFAULTS = {"ava": "generic", "tad66k": "generic", "spaq": "generic"}


def protocol_of(dataset: str, name: str | None) -> Protocol:
    """The named protocol; by default that of the data set. On other data, any number of ratings makes eligible.

    Raises:
        InvalidInput: there is none of this name.
    """
    wanted = name or DEFAULTS.get(dataset, dataset)
    if wanted not in PROTOCOLS:
        raise InvalidInput(f"protocol {wanted!r:.40} is not known: {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[wanted]
    if wanted == dataset or wanted == "generic":
        return protocol
    return replace(protocol, name=f"{wanted}, on other data", least=1, most=None)
