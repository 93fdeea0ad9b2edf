"""One question each: what is asked of a side, and the figures that answer it."""
