"""The errors of the platform. An error's class says what the caller can do about it.

`api/errors.py` maps classes to HTTP status codes. Workers retry `Unavailable` only.
"""


class PaaplusError(Exception):
    """Base of all errors that a caller may see. The message contains the wrong values."""

    code = "error"


class InvalidInput(PaaplusError):
    """The caller's input is invalid; nothing was changed."""

    code = "invalid_input"


class TooLarge(InvalidInput):
    """More bytes than are accepted."""

    code = "too_large"


class NotFound(PaaplusError):
    """It does not exist, or the caller may not see it."""

    code = "not_found"


class Conflict(PaaplusError):
    """The request contradicts the current state."""

    code = "conflict"


class Forbidden(PaaplusError):
    """The API key is valid, but does not allow this request."""

    code = "forbidden"


class Unauthenticated(PaaplusError):
    """There is no API key, or it is unknown or revoked."""

    code = "unauthenticated"


class TooMany(PaaplusError):
    """A limit is reached. The same request may succeed after `retry_after_s` seconds."""

    code = "too_many"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(PaaplusError):
    """Something that is needed is not available now. A retry may succeed."""

    code = "unavailable"


class Damaged(Unavailable):
    """Stored bytes have changed or cannot be read. Only a restore helps."""

    code = "damaged"


class UndefinedMetric(PaaplusError):
    """The metric is undefined on this input, for example a rank correlation with a constant."""

    code = "undefined_metric"


class LeaseLost(PaaplusError):
    """The worker no longer holds the job. Its result must be discarded."""

    code = "lease_lost"


class TrainingStopped(PaaplusError):
    """The work was stopped early (lease lost, worker stopping); it has no result."""

    code = "training_stopped"


class DivergedError(PaaplusError):
    """A training produced NaN or infinity; the message names the step."""

    code = "diverged"
