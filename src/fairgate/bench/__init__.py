"""The bench (F36): how fast, how far from the limit, and how it compares, measured from outside.

    target (what is asked) ──▶ driver (asks, in a process and on a core of its own) ──▶ sample ──▶ report

A *work* (`works/`) is one question: joins, positions, sessions, drain, latency, listeners, waiters, recovery; or what
the parts can do by themselves (limits). It gets a `Target`, an implementation of the same HTTP API: Fairgate's own
stack, the peer in `bench/peer`, or any URL. The driver is the same for all of them, in one of two ways: *closed* (each
connection asks when it has its answer: how much passes) and *open* (each request has its moment, kept whether or not
the last one was answered, and its latency counts from that moment: how it feels; no coordinated omission).

These machines are noisy: what is compared is measured alternately in one run, and shown as a median with its spread.
"""
