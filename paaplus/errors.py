"""The error tree: what a caller can do about a failure decides its class.

`api/errors.py` maps the four families to 404, 409, 400 and 503; workers retry `Unavailable` only.
"""


class PaaplusError(Exception):
    """Base of every error that is meant for a caller; the message carries the offending values."""

    code = "error"


class InvalidInput(PaaplusError):
    """The caller sent something that cannot be right; nothing was changed."""

    code = "invalid_input"


class TooLarge(InvalidInput):
    """More bytes than are accepted."""

    code = "too_large"


class NotFound(PaaplusError):
    """The named thing does not exist, or does not exist for this caller."""

    code = "not_found"


class Conflict(PaaplusError):
    """The request contradicts what is already recorded."""

    code = "conflict"


class Forbidden(PaaplusError):
    """The key is valid, but does not open this door."""

    code = "forbidden"


class Unauthenticated(PaaplusError):
    """No key, or one that is unknown or revoked."""

    code = "unauthenticated"


class TooMany(PaaplusError):
    """More than is allowed for now; the same again will do after `retry_after_s` seconds."""

    code = "too_many"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(PaaplusError):
    """Something that is needed is away for now; trying again later may help."""

    code = "unavailable"


class Damaged(Unavailable):
    """What the storage gives back is not what was put there; it stays so until somebody restores it."""

    code = "damaged"


class UndefinedMetric(PaaplusError):
    """The metric has no value on this input, for example a rank correlation with a constant."""

    code = "undefined_metric"


class LeaseLost(PaaplusError):
    """The worker no longer holds the job: its result must be thrown away."""

    code = "lease_lost"


class TrainingStopped(PaaplusError):
    """Work ended early because it was asked to (lease lost, worker stopping); nothing was produced."""

    code = "training_stopped"


class DivergedError(PaaplusError):
    """Training left the finite numbers; the message names the step."""

    code = "diverged"
