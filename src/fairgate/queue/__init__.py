"""Stage 1: the line. A join is one script in Valkey, for all who came meanwhile; Kafka and SQL are not on its way.

    POST /queue/join ──▶ batcher ──▶ join.lua ──▶ position, sequence, placeToken

A member of the sorted set keeps its first score, so a repeated join returns the same place. `queue.py` is what the edge
calls, `batcher.py` gathers, `lines.py` is what an operator does to lines.
"""
