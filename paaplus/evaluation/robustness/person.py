"""Attack people's models of a data folder: a base model of everybody else, an adapter of the person's own ratings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput
from paaplus.evaluation.closed_form import learned
from paaplus.evaluation.robustness.run import NamedImage, Subject, SubjectReport, run_robustness
from paaplus.evaluation.robustness.scorers import adapter_scorer
from paaplus.evaluation.splits import FolderSplit, split_folder
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.image_files import decode_image
from paaplus.models.extractor import Extractor

MAX_RATINGS = 100


def check_people(folder: DataFolder, people: Sequence[str]) -> FolderSplit:
    """The split on which these people's models are attacked.

    Raises:
        InvalidInput: an unknown person, one who is named twice, or one without ratings of train or of test images.
    """
    if unknown := sorted(set(people) - set(folder.people)):
        raise InvalidInput(f"{folder.path} has no person {unknown[0]!r}")
    if len(set(people)) < len(people):
        raise InvalidInput("a person is named twice")
    drawn = split_folder(folder, 0)
    others = tuple(user_id for user_id in folder.people if user_id not in people)
    for user_id in people:
        rated = {folder.images[i] for i in folder.image_N[folder.person_N == folder.people.index(user_id)]}
        num_train, num_test = (len(rated & side) for side in (drawn.train_images, drawn.test_images))
        if not num_train or not num_test:
            raise InvalidInput(f"{user_id}: {num_train} ratings of train images, {num_test} of test images")
    return FolderSplit(0, others, tuple(people), drawn.train_images, drawn.test_images, drawn.rated)


def run_people(
    data: EvaluationData,
    extractor: Extractor,
    people: Sequence[str],
    budget: float,
    limit: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[SubjectReport]:
    """Attack each person's model on test images that the person rated.

    Args:
        data: the data folder with features.
        extractor: what computed the features.
        people: user ids; none of them takes part in the base model.
        budget: see `run_robustness`.
        limit: at most so many images of each person.

    Raises:
        InvalidInput: an unknown person, or one without ratings of train or of test images.
    """
    folder = data.folder
    split = check_people(folder, people)
    side = TrainSide("robustness", data, split)
    reports = []
    for user_id in people:
        train = [side.image_at[image] for image in split.support(user_id, MAX_RATINGS)]
        test = sorted(side.test_images(user_id).tolist())[:limit]
        if not train or not test:
            raise InvalidInput(f"{user_id}: {len(train)} ratings of train images, {len(test)} of test images")
        adapter = learned(side.base, side.rated(user_id, train))
        images = [
            NamedImage(folder.images[i], decode_image(folder.image_path(folder.images[i]).read_bytes())) for i in test
        ]
        for aspect in side.base.aspects:
            subject = Subject(user_id, aspect, adapter_scorer(extractor, side.base, adapter, aspect))
            reports.append(run_robustness(subject, images, budget, progress))
    return reports
