"""Settings of a deployment. Only this module reads the environment.

Every field is an environment variable with the prefix `PAAPLUS_`, e.g. `PAAPLUS_DATABASE_URL`.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import PydanticBaseSettingsSource as Source

from paaplus import setting_values
from paaplus.errors import InvalidInput
from paaplus.numbers import parse_number, parse_whole
from paaplus.texts import parse_json

UserPath = Annotated[Path, AfterValidator(setting_values.expanded)]
StorageUrl = Annotated[str, AfterValidator(setting_values.storage_url)]


class Settings(BaseSettings):
    """One process's settings. The defaults are the embedded mode, with everything under `home`."""

    # An empty variable is as none: `.env` files and compose write what is not set as empty.
    model_config = SettingsConfigDict(env_prefix="PAAPLUS_", env_ignore_empty=True, extra="ignore")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: Source,
        env_settings: Source,
        dotenv_settings: Source,
        file_secret_settings: Source,
    ) -> tuple[Source, ...]:
        """Arguments and the environment, which is asked for each field only if it has one: that takes milliseconds."""
        variables = {name.lower() for name in os.environ}
        has_one = any(f"paaplus_{name}" in variables for name in cls.model_fields)
        return (init_settings, env_settings) if has_one else (init_settings,)

    @field_validator("application_weights", mode="before")
    @classmethod
    def _json_object(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse_json(value, "a JSON object of weights by application is needed")
        except InvalidInput as error:
            raise ValueError(str(error)) from None

    @field_validator("*", mode="before")
    @classmethod
    def _plain_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic itself would read `80_80` as 8080."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if not isinstance(value, str) or kind not in (int, float):
            return value
        try:
            return parse_whole(value) if kind is int else parse_number(value)
        except InvalidInput:  # without the value, which may be a secret that was set in the wrong place
            raise ValueError(f"is not {'an integer' if kind is int else 'a number'}") from None

    @field_validator("*", mode="before")
    @classmethod
    def _without_blanks(cls, value: Any, info: ValidationInfo) -> Any:
        """Without the spaces and line ends around it, with which a file or a template writes it; blank is as none.

        It stands last: pydantic runs the validators before a field's own type from the last one on.
        """
        field = cls.model_fields[str(info.field_name)]
        if not isinstance(value, str) or field.annotation is SecretStr:
            return value
        return value.strip() or field.get_default(call_default_factory=True)

    home: Annotated[Path, AfterValidator(setting_values.home_folder)] = Field(
        Path("var"), description="Folder of the embedded mode: database, queue, blobs, logs."
    )
    database_url: Annotated[str, AfterValidator(setting_values.database_url)] = Field(
        "", description="SQLAlchemy URL; empty: SQLite in `home`."
    )
    broker_url: Annotated[str, AfterValidator(setting_values.broker_url)] = Field(
        "", description="Celery broker, e.g. redis://host:6379/0; empty: a folder in `home`."
    )
    storage_url: StorageUrl = Field("", description="s3://, gs://, az:// or file:// URL; empty: a folder in `home`.")
    erasures_url: StorageUrl = Field("", description="Where the list of erased users is kept, outside of every backup.")

    api_host: Annotated[str, AfterValidator(setting_values.listening_host)] = "127.0.0.1"
    api_port: int = Field(8000, ge=0, le=65535)
    root_path: Annotated[str, AfterValidator(setting_values.path_prefix)] = Field(
        "", description="Path prefix of a reverse proxy, e.g. /paaplus; the proxy may take it off or leave it."
    )
    max_upload_bytes: int = Field(20 * 2**20, ge=1024, description="Largest image file that is accepted.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Largest image, in pixels, that is decoded.")
    min_image_side_px: int = Field(16, ge=2, description="Shortest side of an image that is accepted.")
    max_prediction_items: int = Field(2_000, ge=1, description="Items of one call for predictions.")
    max_ranking_images: int = Field(
        20_000, ge=1, le=30_000, description="Images that one ranking looks at: the newest of a user who has more."
    )
    max_feedback_events: int = Field(1_000, ge=1)
    max_wait_s: float = Field(30.0, ge=0, description="Longest time a prediction waits for features.")
    max_waiting_per_key: int = Field(
        32, ge=0, description="Predictions of one key that wait for features at the same time, in one API process."
    )
    max_changes_per_user: int = Field(
        6, ge=1, description="Requests that change one user and run at the same time, in one API process."
    )
    requests_at_once: int = Field(
        4, ge=1, description="Requests that work at the same time in one API process; others wait, callers in turns."
    )
    max_queued_per_caller: int = Field(
        500, ge=0, description="Requests of one caller that wait for their turn, in one API process."
    )
    max_queued_s: float = Field(30.0, gt=0, description="Longest wait of a request for its turn.")
    lock_timeout_s: float = Field(5.0, gt=0, description="Longest wait of a request for a row's lock on PostgreSQL.")
    statement_timeout_s: float = Field(30.0, gt=0, description="Longest statement of a request on PostgreSQL.")
    pool_timeout_s: float = Field(5.0, gt=0, description="Longest wait of a request for a connection to PostgreSQL.")

    max_streams_per_key: int = Field(32, ge=0, description="Open event streams of one key, in one API process.")
    stream_s: float = Field(
        300.0, gt=0, description="An event stream ends after this time; the client goes on with a new one."
    )
    cors_origins: Annotated[str, AfterValidator(setting_values.origins)] = Field(
        "",
        description="Origins of web pages that may call the API, with commas; empty: none.",
    )

    results_folder: UserPath | None = Field(
        None, description="Recorded evaluation runs that the studio shows; none: the repository's, if this is one."
    )

    requests_per_minute: int = Field(60_000, ge=0, description="Of one application or admin key; 0: no limit.")
    user_requests_per_minute: int = Field(1_200, ge=0, description="Of one key of a user; 0: no limit.")
    predictions_per_key_per_day: int = Field(
        20_000_000, ge=0, description="Items through one application or admin key; 0: no limit."
    )
    user_predictions_per_day: int = Field(100_000, ge=0, description="Items through one key of a user; 0: no limit.")
    uploads_per_key_per_day: int = Field(
        100_000, ge=0, description="Pictures through one application or admin key; 0: no limit."
    )
    user_uploads_per_day: int = Field(1_000, ge=0, description="Pictures through one key of a user; 0: no limit.")
    failed_attempts_per_minute: int = Field(
        600, ge=0, description="With unknown API keys, of one address and API process; 0: no limit."
    )
    feedback_per_key_per_day: int = Field(5_000_000, ge=0, description="Events through one key; 0: no limit.")
    feedback_per_user_per_day: int = Field(10_000, ge=0, description="New events of one user; 0: no limit.")

    webhooks_per_application: int = Field(20, ge=0)
    webhook_allow_private: bool = Field(
        False, description="Whether webhooks may go to private addresses, and over http without TLS."
    )
    webhook_timeout_s: float = Field(10.0, gt=0, description="Longest time of one delivery, all in all.")
    webhook_max_attempts: int = Field(12, ge=1, description="Tries of one delivery.")
    webhook_max_failures: int = Field(
        30, ge=1, description="After so many failed tries in a row, a webhook is disabled."
    )
    webhook_retry_base_s: float = Field(5.0, gt=0, description="Pause after the first failed try; it doubles.")
    webhook_retry_cap_s: float = Field(3600.0, gt=0, description="Longest pause between tries.")

    default_base_model: Annotated[str, AfterValidator(setting_values.model_name)] = Field(
        "", description="name or name@version; empty: the newest active one."
    )
    nima_file: UserPath | None = Field(
        None, description="A NIMA-style head or network for tool `nima`; none: no such tool."
    )
    nima_aspect: Annotated[str, AfterValidator(setting_values.aspect)] = Field(
        "aesthetics", description="What tool `nima` scores."
    )
    features_queue: Literal["cpu", "gpu"] = "cpu"
    adaptation_queue: Literal["cpu", "gpu"] = "cpu"
    device: Annotated[str, AfterValidator(setting_values.device)] = Field(
        "auto", description="auto, cpu, cuda or cuda:N; a worker without CUDA falls back to cpu."
    )
    features_batch_size: int = Field(16, ge=1)
    claim_size: int = Field(
        16, ge=1, le=64, description="Due users that a worker claims and trains together; no version depends on it."
    )
    application_weights: Annotated[
        dict[str, Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]], NoDecode
    ] = Field(default_factory=dict, description="JSON: weights of applications that share workers; 1 for the others.")
    max_training_steps: int = Field(10_000, ge=1, description="Largest `num_steps` that a policy may ask for.")
    max_training_rows: int = Field(
        2_000_000, ge=1, description="Most rows that one training may draw: steps times batch and replay batch."
    )
    torch_threads: int = Field(1, ge=1, description="Threads of torch in one worker process.")

    lease_s: float = Field(30.0, gt=0, description="A worker that is silent for this long has lost its job.")
    max_attempts: int = Field(5, ge=1)
    retry_base_s: float = Field(2.0, gt=0)
    retry_cap_s: float = Field(600.0, gt=0)
    scan_interval_s: float = Field(2.0, gt=0, description="How often the scheduler looks for due users.")
    worker_start_method: Literal["spawn", "fork"] = Field("spawn", description="spawn is what CUDA needs.")
    task_time_limit_s: float = Field(3600.0, gt=0, description="Hard limit of one task (prefork pools only).")

    holdout_key: SecretStr = Field(SecretStr("paaplus-holdout"), description="Key of the hash that holds ratings out.")
    features_cache_mb: int = Field(256, ge=1, description="Memory for projected features in one API process.")
    keep_receipts_days: int = Field(
        365, ge=0, description="Receipts are valid for this time, and rows that no feedback names deleted; 0: for ever."
    )
    keep_events_days: int = Field(
        30, ge=0, description="Events and their deliveries are deleted after this time; 0: never."
    )
    keep_jobs_days: int = Field(90, ge=0, description="Finished jobs are deleted after this time; 0: never.")
    adapters_cache_mb: int = Field(256, ge=1, description="Memory for adapters in one process; 64 MB: 37,000 users.")
    adapters_file_mb: int = Field(
        256, ge=0, description="Disk of one process for adapters that find no room in memory, in MB; 0: none."
    )
    audiences_cache_mb: int = Field(
        256, ge=1, description="Memory for the adapters of audiences in one API process; 256 MB: 200,000 users."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    fault: Annotated[str, AfterValidator(setting_values.fault)] = Field(
        "", description="For tests: the point of paaplus/faults.py at which this process kills itself."
    )

    @property
    def resolved_database_url(self) -> str:
        from sqlalchemy.engine import URL, make_url  # here, because it takes a command 0.2 s to import
        from sqlalchemy.exc import ArgumentError

        if not self.database_url:  # built, because a path may have characters that mean something in a URL
            path = str((self.home / "paaplus.db").absolute())
            return URL.create("sqlite", database=path).render_as_string(hide_password=False)
        try:
            url = make_url(self.database_url)
        except ArgumentError:
            return self.database_url  # `make_engine` refuses it, without its text
        if url.get_backend_name() == "sqlite" and url.database and url.database.startswith("~"):
            url = url.set(database=str(setting_values.expanded(Path(url.database))))
            return url.render_as_string(hide_password=False)
        return self.database_url

    @property
    def resolved_storage_url(self) -> str:
        return self.storage_url or (self.home / "blobs").absolute().as_uri()

    @property
    def resolved_erasures_url(self) -> str:
        return self.erasures_url or (self.home / "erasures").absolute().as_uri()

    @property
    def allowed_origins(self) -> list[str]:
        return [origin.strip().rstrip("/") for origin in self.cors_origins.split(",") if origin.strip()]

    @property
    def resolved_broker_url(self) -> str:
        return self.broker_url or "filesystem://"

    @property
    def broker_folder(self) -> Path:
        return (self.home / "queue").absolute()


RENAMED = {"PAAPLUS_COHORT_SIZE": "PAAPLUS_CLAIM_SIZE"}  # variables that would be ignored without a word


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once; tests and the command line may call `cache_clear`.

    Raises:
        InvalidInput: a variable is invalid or has a name of earlier days; the message has its name, but not its value,
            which may be a secret.
    """
    for old, new in RENAMED.items():
        if os.environ.get(old):
            raise InvalidInput(f"{old}: the setting is {new} now")
    given = [name for name, value in os.environ.items() if name.startswith("PAAPLUS_") and value]
    spelt: dict[str, str] = {}
    for name, value in os.environ.items():
        if value and name.upper().startswith("PAAPLUS_") and spelt.setdefault(name.upper(), name) != name:
            raise InvalidInput(f"{spelt[name.upper()]} and {name} are the same setting: give one of them")
    known = [f"PAAPLUS_{name.upper()}" for name in Settings.model_fields]
    for name, meant in setting_values.misspelled(given, known).items():
        raise InvalidInput(f"{name} is not known; is {meant} meant?")
    try:
        return Settings()
    except ValidationError as error:
        problems = (
            f"PAAPLUS_{'.'.join(map(str, wrong['loc'])).upper()}: {wrong['msg'].removeprefix('Value error, ')}"
            for wrong in error.errors()
        )
        raise InvalidInput("; ".join(problems)) from None
