"""Receipts in the database: one key for all processes, and a row for each receipt that a correction names."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import PredictionReceiptRow, SecretRow
from paaplus.db.types import utcnow
from paaplus.ids import new_id
from paaplus.services.predictions import receipts
from tests.support.factories import make_base_model, make_image, make_user


def num_rows(database: Database) -> int:
    with database.read_session() as session:
        return session.execute(sa.select(sa.func.count()).select_from(PredictionReceiptRow)).scalar_one()


def test_all_processes_have_one_key_and_a_lost_one_is_made_anew(database: Database) -> None:
    user = new_id()

    def sign() -> str:
        [text] = receipts.signer(database).sign(user, (None, user), utcnow(), [(user, [1.0], None)])
        return text

    assert receipts.signer(database).read(user, sign()).scores == (1.0,)
    with database.session() as session:
        session.execute(sa.delete(SecretRow))
    assert receipts.signer(database).read(user, sign()).scores == (1.0,)


def test_named_receipt_is_written_once_if_it_is_true_and_young_enough(database: Database) -> None:
    with database.session() as session:
        user, image = make_user(session).id, make_image(session).id
        base = make_base_model(session)
        base_id, aspects = base.id, base.aspects
    signer = receipts.signer(database)
    scores = [float(n) for n in range(len(aspects))]

    def made(age_days: float = 0, image_id: object = image, of: object = user) -> str:
        moment = utcnow() - timedelta(days=age_days)
        [text] = signer.sign(of, (None, base_id), moment, [(image_id, scores, {"branches": ["image"]})])  # type: ignore[list-item,arg-type]
        return text

    good = made()
    for text in (made(age_days=11), made(image_id=new_id()), made(of=new_id()), "r1.rubbish"):
        receipts.keep(database, signer, [(user, text)], keep_days=10)
        assert num_rows(database) == 0
    for _ in range(2):
        receipts.keep(database, signer, [(user, good), (user, good)], keep_days=10)
    with database.read_session() as session:
        row = session.execute(sa.select(PredictionReceiptRow)).scalar_one()
    assert (row.user_id, row.image_id, row.base_model_id, row.adapter_id) == (user, image, base_id, None)
    assert (row.scores, row.details) == (dict(zip(aspects, scores, strict=True)), {"branches": ["image"]})
    assert abs((row.created_at - signer.read(user, good).created_at).total_seconds()) < 0.001
    receipts.keep(database, signer, [(user, made(age_days=1000))], keep_days=0)
    assert num_rows(database) == 2
