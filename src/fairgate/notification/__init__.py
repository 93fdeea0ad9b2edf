"""Telling users (F18–F20). The inbox row is the delivery; everything after it is a hint.

How one notification travels, and what makes each step safe:

1. `tell` reads it from Kafka and keeps the inbox row. The row's id is the message id: a repeat adds nothing.
2. `channels` get what is new. The live channel asks presence where the user is and publishes one message per live
   process and batch. It may be lost; the offsets are committed all the same, because the row is kept.
3. A live process pushes it to the user's sockets, again and again until a client acknowledges it (`live_delivery`).
   It learns of a row by the hint, by its sweep of the inbox every 5 s, or because the user connects.
4. The acknowledgement becomes `seen_at`. The client shows an id once, so pushing twice shows nothing twice.
"""
