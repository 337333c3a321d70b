"""All tables. `Base.metadata` is the schema that the migrations must give."""

from paaplus.db.tables.base import Base
from paaplus.db.tables.events import DeliveryRow, EventRow, WebhookRow
from paaplus.db.tables.experts import ExpertRow, MatchExpertRow, MatchRow, QuizPairRow, QuizRow
from paaplus.db.tables.exposure import ExposureRatingRow
from paaplus.db.tables.feedback import ExclusionRow, FeedbackRow, PredictionReceiptRow
from paaplus.db.tables.governance import (
    AllowanceRow,
    ApiKeyRow,
    AuditHeadRow,
    AuditRow,
    BrowserSessionRow,
    IdempotencyRow,
    SecretRow,
)
from paaplus.db.tables.images import FeaturesRow, ImageMapRow, ImageRow
from paaplus.db.tables.jobs import JobRow, RunRow
from paaplus.db.tables.models import AdapterHistoryRow, AdapterRow, BaseModelRow, TastePriorPersonRow, TastePriorRow
from paaplus.db.tables.reviews import (
    PseudoLabelRow,
    ReviewBatchRow,
    ReviewRow,
    ToolRevisionPersonRow,
    ToolRevisionRow,
)
from paaplus.db.tables.serving import ServingChangeRow
from paaplus.db.tables.surveys import (
    PreferenceEncoderPersonRow,
    PreferenceEncoderRow,
    PreferenceRow,
    SurveyAnswersRow,
    SurveyRow,
)
from paaplus.db.tables.users import DueRow, UserRow

__all__ = [
    "AdapterHistoryRow",
    "AdapterRow",
    "AllowanceRow",
    "ApiKeyRow",
    "AuditHeadRow",
    "AuditRow",
    "Base",
    "BaseModelRow",
    "BrowserSessionRow",
    "DeliveryRow",
    "DueRow",
    "EventRow",
    "ExclusionRow",
    "ExpertRow",
    "ExposureRatingRow",
    "FeaturesRow",
    "FeedbackRow",
    "IdempotencyRow",
    "ImageMapRow",
    "ImageRow",
    "JobRow",
    "MatchExpertRow",
    "MatchRow",
    "PredictionReceiptRow",
    "PreferenceEncoderPersonRow",
    "PreferenceEncoderRow",
    "PreferenceRow",
    "PseudoLabelRow",
    "QuizPairRow",
    "QuizRow",
    "ReviewBatchRow",
    "ReviewRow",
    "RunRow",
    "SecretRow",
    "ServingChangeRow",
    "SurveyAnswersRow",
    "SurveyRow",
    "TastePriorPersonRow",
    "TastePriorRow",
    "ToolRevisionPersonRow",
    "ToolRevisionRow",
    "UserRow",
    "WebhookRow",
]
