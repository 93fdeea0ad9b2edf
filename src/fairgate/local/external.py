"""Servers that the operator named: do they answer, and if not, why, in words and without their passwords."""

from __future__ import annotations

from urllib.parse import urlsplit

from fairgate.config import Config
from fairgate.errors import ServerUnreachable
from fairgate.local.probes import kafka_view, postgres_version, valkey_version
from fairgate.streams.settings import connection

ANSWER_S = 10.0


def check_kafka(config: Config) -> str:
    """How many brokers answered; fewer than three is development. Raises `ServerUnreachable`."""
    from confluent_kafka import KafkaError, KafkaException

    refusals: list[KafkaError] = []
    try:
        view = kafka_view({**connection(config), "error_cb": refusals.append}, ANSWER_S)
    except KafkaException as error:
        reasons = {refusal.code() for refusal in refusals} | {error.args[0].code()}
        raise _kafka_trouble(config, reasons, str(refusals[-1].str() if refusals else error.args[0].str())) from error
    return "kafka, " + ("1 broker: development" if view.brokers == 1 else f"{view.brokers} brokers")


def _kafka_trouble(config: Config, reasons: set[int], told: str) -> ServerUnreachable:
    from confluent_kafka import KafkaError

    where = f"Kafka at {config.kafka_bootstrap}"
    if KafkaError._AUTHENTICATION in reasons:
        hint = "check FAIRGATE_KAFKA_USERNAME, FAIRGATE_KAFKA_PASSWORD and FAIRGATE_KAFKA_SASL_MECHANISM"
        return ServerUnreachable(f"{where} refused the login: {told}", hint)
    if KafkaError._SSL in reasons:
        return ServerUnreachable(f"{where} is not trusted: {told}", "check FAIRGATE_KAFKA_CA_FILE and …_SECURITY")
    return ServerUnreachable(f"{where} does not answer: {told}", "check FAIRGATE_KAFKA_BOOTSTRAP and …_SECURITY")


def check_valkey(config: Config) -> str:
    """Its name and version. Raises `ServerUnreachable`."""
    import redis

    assert config.valkey_url is not None
    where = f"Valkey at {without_password(config.valkey_url)}"
    try:
        return valkey_version(config.valkey_url, ANSWER_S)
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise ServerUnreachable(f"{where} refused the login", "check the password in FAIRGATE_VALKEY_URL") from error
    except (redis.RedisError, OSError, ValueError) as error:
        raise ServerUnreachable(f"{where} does not answer: {error}", "check FAIRGATE_VALKEY_URL") from error


def check_postgres(config: Config) -> str:
    """Its name and version. Raises `ServerUnreachable`."""
    import asyncpg

    assert config.postgres_dsn is not None
    dsn = config.postgres_dsn.get_secret_value()
    where = f"PostgreSQL at {without_password(dsn)}"
    try:
        return f"postgresql {postgres_version(dsn, ANSWER_S)}"
    except asyncpg.InvalidAuthorizationSpecificationError as error:  # a wrong password is one of these
        raise ServerUnreachable(f"{where} refused the login", "check user and password in the DSN") from error
    except asyncpg.InvalidCatalogNameError as error:
        raise ServerUnreachable(f"{where} has no such database", "create it, or correct the DSN") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        told = str(error) or type(error).__name__
        raise ServerUnreachable(f"{where} does not answer: {told}", "check FAIRGATE_POSTGRES_DSN") from error


def without_password(url: str) -> str:
    """`host:port/path`; the rest of an address is nobody's business."""
    parts = urlsplit(url)
    return f"{parts.hostname or 'its socket'}{f':{parts.port}' if parts.port else ''}{parts.path}"
