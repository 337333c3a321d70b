"""The errors of the platform. An error's class says what the caller can do about it.

`http_status` is what the API and the studio answer. An error of a class with 500 is our own mistake. Workers retry
`Unavailable` only.
"""


class PaaplusError(Exception):
    """Base of all errors that a caller may see. The message contains the wrong values."""

    code = "error"
    http_status = 500


class InvalidInput(PaaplusError):
    """The caller's input is invalid; nothing was changed."""

    code = "invalid_input"
    http_status = 400


class TooLarge(InvalidInput):
    """More bytes than are accepted."""

    code = "too_large"
    http_status = 413


class NotFound(PaaplusError):
    """It does not exist, or the caller may not see it."""

    code = "not_found"
    http_status = 404


class Conflict(PaaplusError):
    """The request contradicts the current state."""

    code = "conflict"
    http_status = 409


class Forbidden(PaaplusError):
    """The API key is valid, but does not allow this request."""

    code = "forbidden"
    http_status = 403


class Unauthenticated(PaaplusError):
    """There is no API key, or it is unknown or revoked."""

    code = "unauthenticated"
    http_status = 401


class TooMany(PaaplusError):
    """A limit is reached. The same request may succeed after `retry_after_s` seconds."""

    code = "too_many"
    http_status = 429

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(PaaplusError):
    """Something that is needed is not available now. A retry may succeed."""

    code = "unavailable"
    http_status = 503


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
