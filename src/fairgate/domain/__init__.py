"""Words and rules without I/O, clock or logging."""
