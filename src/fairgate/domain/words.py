"""The words of Fairgate's own notifications, in the languages that a user can choose (`users.locale`)."""

from __future__ import annotations

from typing import NamedTuple

DEFAULT_LOCALE = "en"


class Words(NamedTuple):
    title: str
    body: str


_CATALOGUE: dict[str, dict[str, Words]] = {
    "ticket:issued": {
        "en": Words("Your ticket has been issued!", "Ticket no. {number} for {event} is yours."),
        "ko": Words("티켓 발급 완료!", "{event} 티켓 {number}번이 발급되었습니다."),
    },
    "queue:sold_out": {
        "en": Words("Sold out", "No ticket remains for {event}. Thank you for waiting."),
        "ko": Words("매진되었습니다", "{event}의 남은 티켓이 없습니다. 기다려 주셔서 감사합니다."),
    },
    "queue:closed": {
        "en": Words("The line is closed", "The line for {event} has been closed. Thank you for waiting."),
        "ko": Words("대기열이 종료되었습니다", "{event} 대기열이 종료되었습니다. 기다려 주셔서 감사합니다."),
    },
    "ticket:cancelled": {
        "en": Words("Your ticket was cancelled", "Your ticket for {event} was cancelled."),
        "ko": Words("티켓이 취소되었습니다", "{event} 티켓이 취소되었습니다."),
    },
    "ticket:expired": {
        "en": Words("Your ticket has expired", "Your ticket for {event} was not confirmed in time."),
        "ko": Words("티켓이 만료되었습니다", "{event} 티켓이 제시간에 확정되지 않아 만료되었습니다."),
    },
}


def words(kind: str, locale: str, *, event: str = "", number: int = 0) -> Words | None:
    """Title and body in this language, else in English; None where the kind is not one of ours."""
    known = _CATALOGUE.get(kind)
    if known is None:
        return None
    title, body = known.get(locale, known[DEFAULT_LOCALE])
    return Words(title, body.format(event=event, number=number))


def kinds() -> dict[str, dict[str, Words]]:
    """The whole catalogue."""
    return _CATALOGUE
