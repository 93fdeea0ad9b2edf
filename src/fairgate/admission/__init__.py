"""Stage 2: the turn. Waiters go from the line to a claim, from the claim to a row, and only then is the claim cleared.

    line (ZSET) ──claim.lua──▶ claims (ZSET) ──admit()──▶ admissions + outbox ──clear.lua──▶ outcome "admitted"
                    3                           4                                5

**One writer.** A lease names the owner of a shard of lines and an epoch that only grows. Valkey's scripts refuse any
epoch but the state's, SQL any but the lease's: an owner that was frozen and wakes up moves nobody.

**A claim is a promise in progress.** It has left the line and is not yet in SQL. Whoever owns the line next finds it,
oldest first, and repeats steps 4 and 5: the admission of the same (event, user, sequence) is found instead of made.

**An admission is the right to a ticket**, with its number, reserved in the same statement. Nothing behind it can refuse
it or change its order.

`owner.py` takes lines over, `pace.py` decides how many pass, `admit.py` is the round, `steps.py` the three writes,
`depart.py` the way out of what is over, `wake.py` hears of joins into an empty line.
"""
