"""The rehearsal (F34): a real stack, a crowd of real clients as in a real rush, and a verdict from what all saw.

The checker (`fairgate.checker`) judges it; the verdict adds what this crowd alone can know. The rule of the crowd:
every fan wants a ticket in the end. Who leaves comes back, who asks twice is one fan. So with F fans and C tickets
exactly min(F, C) get a ticket and all others are told that it is sold out.
"""
