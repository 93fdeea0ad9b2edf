"""All settings, read once at the edge and frozen. Every one is `FAIRGATE_<NAME>` in the environment.

Order: environment, then `<data dir>/stack.json` (written by `fairgate up`, so that other commands find the running
stack), then the default. "Unset" is `None`: the embedded server is used.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, JsonConfigSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

Port = Annotated[int, Field(ge=1024, le=65_000)]
STACK_FILE = "stack.json"

# Lines and message keys map to shards; a process leases shards. Fixed: a row in the outbox carries its shard.
SHARDS = 4


class Ports:
    """Every port derives from one base, so that one flag moves the whole stack."""

    ROLES = ("api", "admission", "relay", "ticketing", "notification", "live")

    def __init__(self, base: int) -> None:
        self.api = base
        self.live = base + 1
        self.valkey = base + 20
        self.postgres = base + 21

        self._ops, self._kafka, self._controller = base + 10, base + 30, base + 40

    def ops(self, role: str) -> int:
        """Where `/healthz`, `/readyz` and `/metrics` of a role answer."""
        return self._ops + self.ROLES.index(role)

    def kafka(self, broker: int) -> int:
        """Client listener of broker 1, 2, 3 …"""
        return self._kafka + broker

    def peer(self, broker: int) -> int:
        """Where a broker listens for the others, when that is apart from its clients."""
        return self._kafka + 3 + broker

    def observer(self, broker: int) -> int:
        """Where a broker listens for who watches it past a proxy, when there is one."""
        return self._kafka + 25 + broker

    def controller(self, broker: int) -> int:
        return self._controller + broker


class Config(BaseSettings):
    """What the operator decides. Times end in `_s`, sizes in `_bytes`."""

    model_config = SettingsConfigDict(env_prefix="FAIRGATE_", frozen=True, extra="ignore")

    # ---- where
    data_dir: Path = Path("fairgate-data")
    port_base: Port = 8080
    host: str = "127.0.0.1"
    public_url: str | None = None
    live_url: str | None = None

    # ---- servers: unset means embedded
    brokers: Annotated[Literal[1, 3], BeforeValidator(int)] = 1
    kafka_bootstrap: str | None = None
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    kafka_username: str | None = None
    kafka_password: SecretStr | None = None
    kafka_ca_file: Path | None = None
    valkey_url: str | None = None
    valkey_live_url: str | None = None
    postgres_dsn: SecretStr | None = None

    # ---- names, so that one cluster can hold several Fairgates
    topic_prefix: str = ""

    # ---- credentials; `fairgate up` makes them when they are unset
    session_key: SecretStr | None = None
    service_token: SecretStr | None = None
    operator_token: SecretStr | None = None

    # ---- the process
    instance: str | None = None
    ops_port: Port | None = None
    log_format: Literal["auto", "json", "pretty"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    # ---- users
    session_idle_s: Annotated[int, Field(ge=60)] = 7_200
    session_max_age_s: Annotated[int, Field(ge=60)] = 86_400
    guest_rate_per_minute: Annotated[int, Field(ge=1)] = 60
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    body_limit_bytes: Annotated[int, Field(ge=256)] = 4_096

    # ---- pipeline bounds
    lag_slow_from: Annotated[int, Field(ge=0)] = 1_000
    lag_hold_from: Annotated[int, Field(ge=1)] = 10_000
    lag_slow_from_s: Annotated[float, Field(ge=0)] = 15.0
    lag_hold_from_s: Annotated[float, Field(gt=0)] = 120.0
    outbox_age_slow_from_s: Annotated[float, Field(ge=0)] = 10.0
    outbox_age_hold_s: Annotated[float, Field(gt=0)] = 30.0
    unsettled_hold: Annotated[int, Field(ge=1)] = 20_000
    journal_max_bytes: Annotated[int, Field(ge=4_096)] = 67_108_864
    inbox_kept_days: Annotated[int, Field(ge=2, le=36_500)] = 30
    join_durability: Literal["valkey", "journal"] = "valkey"
    recovery_grace_s: Annotated[float, Field(ge=0)] = 3.0
    group_protocol: Literal["auto", "classic", "consumer"] = "auto"
    kafka_transactions: bool = True
    # F22. Between two polls; and without a heartbeat (the newer protocol has that one at the broker).
    max_poll_interval_s: Annotated[int, Field(ge=1)] = 300
    group_session_s: Annotated[int, Field(ge=6)] = 30

    @cached_property
    def ports(self) -> Ports:
        return Ports(self.port_base)

    def ops_port_of(self, role: str) -> int:
        return self.ops_port or self.ports.ops(role)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        given: dict[str, Any] = {**env_settings(), **init_settings()}
        stack = Path(given.get("data_dir", "fairgate-data")) / STACK_FILE
        return init_settings, env_settings, JsonConfigSettingsSource(settings_cls, json_file=stack)
