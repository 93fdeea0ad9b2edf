"""Stage 3: the relay. What SQL promised is published to Kafka, in order per key, until Kafka has it.

    outbox ──oldest unsent──▶ produce (idempotent, acks=all) ──all acknowledged──▶ mark sent

A row is a batch of messages of one topic; its id, with the place in the row, is the message id. A crash between Kafka
and the mark sends the row again under the same ids, which every reader absorbs. `relay.py` publishes, `prune.py`
forgets, `watch.py` shows, `sweep.py` closes what Kafka itself can lose.
"""
