"""Shapes of what operators send and see."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field

from fairgate.domain.line import Line
from fairgate.http.models import EventId, Shape, StateName

MILLION = 1_000_000
YEAR_S = 31_536_000
BIGGEST = 2**53 - 1  # what JSON's readers can hold

# No control characters: a NUL is valid JSON and poison to SQL.
PlainText = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


def _text(value: object) -> object:
    if value is not None and not isinstance(value, str):
        raise ValueError("a time is a text like 2026-12-24T20:00:00Z")
    return value


# Numbers would be read as seconds or milliseconds, whichever fits.
Time = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text)]


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("a number is needed")
    return value


# In JSON 5.0 is the integer 5.
_WHOLE = BeforeValidator(_number)

Rate = Annotated[float, Field(gt=0, le=MILLION, allow_inf_nan=False, description="Admissions per second")]
Burst = Annotated[
    int, Field(strict=False, ge=1, le=MILLION, description="How many may pass at once after a quiet time"), _WHOLE
]
Capacity = Annotated[
    int, Field(strict=False, ge=0, le=BIGGEST, description="Tickets in all; null is unlimited"), _WHOLE
]
HoldSeconds = Annotated[
    int, Field(strict=False, ge=1, le=YEAR_S, description="Time to confirm; null confirms at issue"), _WHOLE
]


class CreateLine(Shape):
    """A new line. `burst` defaults to one second of the rate."""

    event_id: EventId
    title: PlainText = ""
    state: StateName = "scheduled"
    rate: Rate = 50.0
    burst: Burst | None = None
    capacity: Capacity | None = None
    hold_seconds: HoldSeconds | None = None
    opens_at: Time | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"eventId": "spring-tour", "rate": 50, "capacity": 1000, "state": "open"}]}
    )


class ChangeLine(Shape):
    """Only what is named changes."""

    title: PlainText = ""
    rate: Rate = 50.0
    burst: Burst = 1
    capacity: Capacity | None = None
    hold_seconds: HoldSeconds | None = None
    opens_at: Time = datetime.max

    model_config = ConfigDict(json_schema_extra={"examples": [{"rate": 20}]})


class LineShape(Shape):
    event_id: str
    title: str
    state: StateName
    rate: float
    burst: int
    capacity: int | None
    hold_seconds: int | None
    opens_at: datetime | None
    sold_out: bool
    version: int
    generation: int

    @classmethod
    def of(cls, line: Line) -> LineShape:
        return cls(
            event_id=line.event_id,
            title=line.title,
            state=line.state.value,
            rate=line.rate,
            burst=line.burst,
            capacity=line.capacity,
            hold_seconds=line.hold_s,
            opens_at=line.opens_at,
            sold_out=line.sold_out,
            version=line.version,
            generation=line.generation,
        )


class LinesShape(Shape):
    lines: list[LineShape]
