"""Users' preferences."""

from __future__ import annotations

from paaplus.api.dependencies import Context, ReadSession, UserKey, UserPath, WriteSession
from paaplus.api.routing import router_of
from paaplus.api.schemas.preferences import PreferenceIn, PreferenceOut
from paaplus.db.tables import PreferenceRow
from paaplus.services.surveys import preferences as preferences_service
from paaplus.services.users import users as users_service

router = router_of("/v1/users", "preferences")


@router.put("/{user}/preference")
def set_preference(
    user: UserPath, body: PreferenceIn, key: UserKey, context: Context, session: WriteSession
) -> PreferenceOut:
    """Set a user's preference. The active version keeps the earlier one; the user becomes due for a new version.

    A base model without preference inputs ignores it: `num_values_taken` is then 0.
    """
    user_id = users_service.resolve(session, key, user).id
    row, dim = preferences_service.give(
        session, context.blobs, user_id, body.preference, actor=key.actor, settings=context.settings
    )
    return _out(row, dim)


@router.get("/{user}/preference")
def get_preference(user: UserPath, key: UserKey, context: Context, session: ReadSession) -> PreferenceOut:
    """A user's preference, set by hand or encoded from a survey."""
    row, dim = preferences_service.read(
        session, context.blobs, users_service.resolve(session, key, user).id, context.settings
    )
    return _out(row, dim)


@router.delete("/{user}/preference", status_code=204)
def delete_preference(user: UserPath, key: UserKey, context: Context, session: WriteSession) -> None:
    """Delete the user's preference. A second call changes nothing."""
    user_id = users_service.resolve(session, key, user).id
    preferences_service.forget(session, context.blobs, user_id, actor=key.actor, settings=context.settings)


def _out(row: PreferenceRow, dim: int) -> PreferenceOut:
    return PreferenceOut(
        user_id=row.user_id,
        preference=row.preference,
        version=row.version,
        preference_encoder_id=row.preference_encoder_id,
        num_values_taken=dim,
        updated_at=row.updated_at,
    )
