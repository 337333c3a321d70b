"""All tables. `Base.metadata` is what migrations are checked against."""

from paaplus.db.tables.base import Base
from paaplus.db.tables.feedback import ExclusionRow, FeedbackRow, PredictionReceiptRow
from paaplus.db.tables.governance import AllowanceRow, ApiKeyRow, AuditHeadRow, AuditRow
from paaplus.db.tables.images import FeaturesRow, ImageRow
from paaplus.db.tables.jobs import JobRow, RunRow
from paaplus.db.tables.models import AdapterHistoryRow, AdapterRow, BaseModelRow, TastePriorPersonRow, TastePriorRow
from paaplus.db.tables.users import UserRow

__all__ = [
    "AdapterHistoryRow",
    "AdapterRow",
    "AllowanceRow",
    "ApiKeyRow",
    "AuditHeadRow",
    "AuditRow",
    "Base",
    "BaseModelRow",
    "ExclusionRow",
    "FeaturesRow",
    "FeedbackRow",
    "ImageRow",
    "JobRow",
    "PredictionReceiptRow",
    "RunRow",
    "TastePriorPersonRow",
    "TastePriorRow",
    "UserRow",
]
