"""Settings of a deployment. Only this module reads the environment.

Every field is an environment variable with the prefix `PAAPLUS_`, e.g. `PAAPLUS_DATABASE_URL`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from paaplus.errors import InvalidInput


class Settings(BaseSettings):
    """One process's settings. The defaults are the embedded mode, with everything under `home`."""

    model_config = SettingsConfigDict(env_prefix="PAAPLUS_", extra="ignore")

    home: Path = Field(Path("var"), description="Folder of the embedded mode: database, queue, blobs, logs.")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in `home`.")
    sqlite_synchronous: Literal["FULL", "NORMAL"] = Field(
        "FULL", description="FULL: what the API has acknowledged survives a power cut. PostgreSQL has its own."
    )
    broker_url: str = Field("", description="Celery broker, e.g. redis://host:6379/0; empty: a folder in `home`.")
    storage_url: str = Field("", description="s3://, gs://, az:// or file:// URL; empty: a folder in `home`.")
    erasures_url: str = Field("", description="Where the list of erased users is kept, outside of every backup.")

    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=0, le=65535)
    max_upload_bytes: int = Field(20 * 2**20, ge=1024, description="Largest image file that is accepted.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Largest image, in pixels, that is decoded.")
    min_image_side_px: int = Field(16, ge=2, description="Shortest side of an image that is accepted.")
    max_prediction_items: int = Field(10_000, ge=1)
    max_feedback_events: int = Field(1_000, ge=1)
    max_wait_s: float = Field(30.0, ge=0, description="Longest time a prediction waits for features.")

    requests_per_minute: int = Field(60_000, ge=0, description="Of one application or admin key; 0: no limit.")
    user_requests_per_minute: int = Field(1_200, ge=0, description="Of one key of a user; 0: no limit.")
    feedback_per_key_per_day: int = Field(5_000_000, ge=0, description="Events through one key; 0: no limit.")
    feedback_per_user_per_day: int = Field(10_000, ge=0, description="New events of one user; 0: no limit.")

    default_base_model: str = Field("", description="name or name@version; empty: the newest active one.")
    nima_file: Path | None = Field(
        None, description="A NIMA-style head or network for tool `nima`; none: no such tool."
    )
    nima_aspect: str = Field("aesthetics", min_length=1, max_length=64, description="What tool `nima` scores.")
    features_queue: Literal["cpu", "gpu"] = "cpu"
    adaptation_queue: Literal["cpu", "gpu"] = "cpu"
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N; a worker without CUDA falls back to cpu.")
    features_batch_size: int = Field(16, ge=1)
    cohort_size: int = Field(
        16, ge=1, le=64, description="Due users that a worker claims and trains together; no version depends on it."
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
    adapters_cache_mb: int = Field(256, ge=1, description="Memory for adapters in one process; 64 MB: 16,000 users.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    fault: str = Field("", description="For tests: the point of paaplus/faults.py at which this process kills itself.")

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{(self.home / 'paaplus.db').absolute()}"

    @property
    def resolved_storage_url(self) -> str:
        return self.storage_url or (self.home / "blobs").absolute().as_uri()

    @property
    def resolved_erasures_url(self) -> str:
        return self.erasures_url or (self.home / "erasures").absolute().as_uri()

    @property
    def resolved_broker_url(self) -> str:
        return self.broker_url or "filesystem://"

    @property
    def broker_folder(self) -> Path:
        return (self.home / "queue").absolute()


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once; tests and the command line may call `cache_clear`.

    Raises:
        InvalidInput: a variable is invalid; the message has its name, but not its value, which may be a secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = (f"PAAPLUS_{'.'.join(map(str, wrong['loc'])).upper()}: {wrong['msg']}" for wrong in error.errors())
        raise InvalidInput("; ".join(problems)) from None
