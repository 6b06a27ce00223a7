"""Every setting of the service, read from the environment (``AFTERPROP_...``)."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from specs.limits import Limits
from specs.quotas import Quotas


class Settings(BaseSettings):
    """Where things are, and how long things may take. All durations are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="AFTERPROP_", env_nested_delimiter="__", frozen=True, extra="ignore", env_ignore_empty=True
    )

    state_dir: Path = Field(default=Path("run"), description="database, broker, artifacts, prepared data, attempts")
    data_dir: Path | None = Field(default=None, description="read-only folder of the user's own data files")
    database_url: str | None = Field(default=None, description="default: SQLite in the state folder")
    broker_url: str = Field(default="redis://127.0.0.1:6379/0")
    broker_key_prefix: str = Field(default="afterprop:", description="every broker key starts with it")
    artifacts_url: str | None = Field(default=None, description="file:// folder; default: in the state folder")
    mnist_mirror_url: str = Field(default="https://ossci-datasets.s3.amazonaws.com/mnist/")

    host: str = Field(default="127.0.0.1", description="the address that the API is bound to")
    open: str | None = Field(default=None, description="'loopback-published': may run open behind ports on 127.0.0.1")
    keys: Literal["required"] | None = Field(
        default=None, description="'required': keys are asked for on loopback too; elsewhere they always are"
    )
    allowed_hosts: str = Field(
        default="", description="names by which the service may be called beside loopback ones, with commas; * is any"
    )
    behind_tls: bool = Field(default=False, description="people reach the pages by https: cookies go no other way")
    launcher: Literal["auto", "fork", "spawn"] = Field(default="auto")
    worker_classes: str | None = Field(default=None, description="'cpu', 'gpu' or 'cpu,gpu'; default: what is there")
    worker_slots: int = Field(default=1, ge=1, le=256, description="attempts at a time on the cpu queue")

    lease_s: float = Field(default=30.0, gt=0)
    poll_s: float = Field(default=1.0, gt=0)
    watch_s: float = Field(default=0.5, gt=0)
    cancel_grace_s: float = Field(default=2.0, gt=0, description="SIGTERM, then SIGKILL of the process group")
    stop_grace_s: float = Field(default=20.0, gt=0, description="pause and preemption: time to checkpoint")
    stall_s: float = Field(default=600.0, gt=0, description="no step for this long: the attempt is killed")
    first_step_s: float = Field(default=1800.0, gt=0)
    probe_limit_s: float = Field(default=120.0, gt=0, description="a probe that takes longer is ended")
    probe_limit_bytes: int = Field(default=4 << 30, gt=0, description="memory that a probe may take beyond PyTorch's")
    verification_limit_s: float = Field(default=600.0, gt=0, description="a replay that takes longer is ended")
    verification_limit_bytes: int = Field(
        default=16 << 30, gt=0, description="memory that a replay on a CPU may take beyond PyTorch's"
    )
    event_poll_s: float = Field(default=0.25, gt=0)
    event_heartbeat_s: float = Field(default=15.0, gt=0)

    estimate_wait_s: float = Field(default=10.0, ge=0, description="so long a request for an estimate waits for it")

    quotas: Quotas = Field(default_factory=Quotas, description="one by one: AFTERPROP_QUOTAS__<NAME>")

    webhook_hosts: str | None = Field(default=None, description="hosts that webhooks may go to, by commas; none: off")
    unsafe_webhook_loopback_for_tests: str | None = Field(
        default=None, pattern=r"^127\.0\.0\.1:[0-9]{1,5}$", description="a receiver of a test; never set it elsewhere"
    )

    upload_idle_s: float = Field(default=30.0, gt=0, description="an upload that brings under 32 KiB in it is ended")
    limits: Limits = Field(default_factory=Limits, description="one by one: AFTERPROP_LIMITS__<NAME>")

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.state_dir.resolve() / 'afterprop.db'}"

    @property
    def artifacts_dir(self) -> Path:
        if self.artifacts_url is None:
            return self.state_dir.resolve() / "artifacts"
        if not self.artifacts_url.startswith("file://"):
            raise ValueError(f"AFTERPROP_ARTIFACTS_URL must be a file:// folder, not {self.artifacts_url!r}")
        return Path(self.artifacts_url.removeprefix("file://"))

    @property
    def allowed_webhook_hosts(self) -> frozenset[str]:
        return frozenset(name.strip().lower() for name in (self.webhook_hosts or "").split(",") if name.strip())

    @property
    def attempts_dir(self) -> Path:
        return self.state_dir.resolve() / "attempts"

    @property
    def prepared_dir(self) -> Path:
        return self.state_dir.resolve() / "prepared"

    @property
    def uploads_dir(self) -> Path:
        return self.state_dir.resolve() / "uploads"

    @property
    def beat_s(self) -> float:
        """Time between two heartbeats."""
        return self.lease_s / 6


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
