"""`fairgate chaos` (F35): the eight risks of the requirements, injected into real servers under load and judged.

The protocol. A *site* is the local stack, laid out so that every part of it can be broken from outside: processes by
their pid, the network by a proxy before each listener, disks by small file systems. A *scenario* is one risk: it
breaks, waits for what Fairgate must do by itself, heals, and states its bounds to the *timeline*. The crowd comes and
goes meanwhile and writes down what it was told; after healing and quiet the checker judges the whole run from outside.
"""
