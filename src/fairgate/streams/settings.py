"""How to reach Kafka, in one place: what every producer, consumer and admin client starts from."""

from __future__ import annotations

from fairgate.config import Config
from fairgate.errors import ConfigError


def connection(config: Config) -> dict[str, str | int]:
    """Address, security and name of the client. Raises `ConfigError` when no Kafka is known."""
    if config.kafka_bootstrap is None:
        raise ConfigError("no Kafka is known", hint="start one with `fairgate up`, or set FAIRGATE_KAFKA_BOOTSTRAP")
    settings: dict[str, str | int] = {
        "bootstrap.servers": config.kafka_bootstrap,
        "security.protocol": config.kafka_security,
        "client.id": f"fairgate-{config.instance}" if config.instance else "fairgate",
    }
    return settings | _login(config) | _trust(config)


def _login(config: Config) -> dict[str, str | int]:
    if not config.kafka_security.startswith("SASL"):
        return {}
    if config.kafka_username is None or config.kafka_password is None:
        raise ConfigError("Kafka asks for a login", hint="set FAIRGATE_KAFKA_USERNAME and FAIRGATE_KAFKA_PASSWORD")
    return {
        # SCRAM-SHA-512 is what managed Kafka offers first
        "sasl.mechanism": config.kafka_sasl_mechanism or "SCRAM-SHA-512",
        "sasl.username": config.kafka_username,
        "sasl.password": config.kafka_password.get_secret_value(),
    }


def _trust(config: Config) -> dict[str, str | int]:
    return {"ssl.ca.location": str(config.kafka_ca_file)} if config.kafka_ca_file else {}
