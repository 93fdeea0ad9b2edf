"""Every key and channel in Valkey. The braces put all keys of a line on one cluster slot."""

from __future__ import annotations

from fairgate.domain.ids import LOBBY

WAKE_CHANNEL = "fairgate:wake"  # a join into an empty line wakes admission: the message is the event id
JOURNAL_CHANNEL = "fairgate:journal"  # these journals have new entries (stores/stirred.py)
JOURNALED_CHANNEL = "fairgate:journaled"  # Kafka has journals up to here: "<event id> <stream id> <fence>", a line each
SESSIONS_GENERATION = "sessions:generation"
LIVE_PROCESSES = "live:processes"  # ZSET: live process id → heartbeat (epoch s)


class LineKeys:
    """The keys of one line, computed once; `of_join` and `of_position` are those of the scripts, in their order."""

    __slots__ = ("claimed_at", "claims", "journal", "line", "of_join", "of_position", "outcomes", "sequence", "state")

    def __init__(self, event_id: str) -> None:
        self.line = "queue:lobby" if event_id == LOBBY else f"queue:event:{event_id}"
        base = "{" + self.line + "}"
        self.sequence = f"{base}:seq"
        self.claims = f"{base}:removed:pending"
        self.claimed_at = f"{base}:claimed:at"
        self.state = f"{base}:state"
        self.outcomes = f"{base}:user"
        self.journal = f"{base}:journal"
        self.of_join = (self.line, self.sequence, self.claims, self.state, self.outcomes, self.journal)
        self.of_position = (self.line, self.claims, self.state, self.outcomes)


def canary(owner: str) -> str:
    """A number that the owner of lines raises. Missing or lower later: this server was wiped or went back in time."""
    return f"lines:canary:{owner}"


def session(session_hash: str) -> str:
    return f"session:{session_hash}"


def live_users(process: str) -> str:
    """SET: the users who have a socket at this live process."""
    return f"live:{process}:users"


def live_channel(process: str) -> str:
    return f"live:{process}"
