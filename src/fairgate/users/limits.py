"""How many guest sessions one address may make: a token bucket each, in this process, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address

# About 20 MB. Who has more addresses than this has more than this limit can stop.
ADDRESSES_MAX = 100_000


class GuestLimit:
    """`rate_per_minute` sessions a minute; as many at once by who has not asked for a minute."""

    def __init__(
        self,
        rate_per_minute: int,
        addresses_max: int = ADDRESSES_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate_s, self._burst = rate_per_minute / 60.0, float(rate_per_minute)
        self._addresses_max, self._clock = addresses_max, clock
        # Address → (tokens, at). In the order of the last request, so that the first is the one to forget.
        # A plain dict takes longer for each that it forgets at its front.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, address: str) -> float:
        """0 and one token taken, or seconds until there is one and nothing taken."""
        now = self._clock()
        holder = bucket_of(address)
        tokens, at = self._buckets.pop(holder, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate_s)
        allowed = tokens >= 1.0
        self._buckets[holder] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > self._addresses_max:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / self._rate_s


def bucket_of(address: str) -> str:
    """An IPv6 user has a whole /64, so that is one bucket."""
    if ":" not in address:
        return address
    try:
        return ip_address(address.partition("%")[0]).exploded[:19]
    except ValueError:
        return address
