"""What operators look at, and what looks for them: figures about the stages that no stage has by itself.

Nothing here is on anybody's way to a ticket. `lag.py` measures how far the consumers are behind and tells admission,
`orphans.py` watches claims, `audit.py` the books. One process measures, under the lease of one shard of the outbox, and
without it nothing is lost but a figure. `books.py` counts row by row, for who asks.
"""
