"""The checker: judges a whole run from outside (I1–I10). Demo, tests, chaos and bench use the same one.

    histories of the clients ─┐
                              ├─▶ Run ──judge──▶ Verdict ──▶ text, plain
    SQL · Kafka · Valkey ─────┘

Every client writes down what it asked, when, and what it was told (`history`). When all is healed and quiet, fresh
clients read SQL, every topic from its beginning and Valkey (`books`, `log`, `line`). The judgement is made from these
data alone: it knows nothing of how Fairgate works, and cannot be talked into anything by the code that it judges.

`places` nobody is lost (I1) · `doubled` nobody is served twice (I2) · `order` (I3) · `stock` the tickets and the books
(I4, I5, I10) · `conduct` positions, rate, orphans, dead letters, secrets (I6–I9, F16) · `verdict` puts them together.

What a client does not know (a call without an answer) may have happened or not: no check accuses anybody of that.
"""
