"""Stage 4: admissions become tickets, and tickets live on.

    ticket-issue ──▶ take ──▶ settle in SQL ──▶ one Kafka transaction: ticket-issued + dead letters + offsets
                                   │                      │
                  the next batches are here     while this one is there, and go together with the next

**Once.** An admission is settled by the ticket of the same (event, user, sequence), and that ticket names the record
that made it: `<topic id>-<partition>@<offset>`. A record that comes again finds its own name, which means that the
process died between SQL and Kafka: the ticket is announced again, under the same id. Another record for the same
admission finds a foreign name: a repeat, and nothing happens. Kafka's transaction keeps repeats out of the log; it is
never the reason why a second ticket is impossible. So it can be left out (`FAIRGATE_KAFKA_TRANSACTIONS`): then what was
announced and not yet committed is announced again after a crash.

**Nobody waits for a bad message.** What cannot be read goes to the dead letters at once. An admission that SQL does not
know is parked for two seconds: the records after it are settled and announced, but the offsets committed stay before
it. Data that PostgreSQL refuses is found by halving the batch.

**Kafka does not answer.** Tickets are made and told to who is connected all the same, as long as records come. The
transaction in doubt is decided by the next producer's start; the committed offsets say whether it came through, and
what did not goes again. That start may take long: a coordinator waits for every broker of the open transaction.

**Starting over.** Whatever else fails after the take and before the commit ends the same way: drop what is in hand, end
its claims, read again from the committed offsets.

`settle.py` is the stage, `orders.py` and `conclude.py` what it decides without I/O, `publishing.py` the way to Kafka,
`parked.py` the waiting for unknown admissions; `tickets.py` is what HTTP asks, `expire.py` the end of a hold.
"""
