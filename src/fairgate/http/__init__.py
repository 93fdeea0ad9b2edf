"""The edge: what comes from outside is checked here, and only here becomes a call of a stage."""
