"""What is remembered. `line`, `sessions` and `presence` in Valkey; everything that must never be wrong in PostgreSQL.

Scripts (`scripts/*.lua`), queries (`queries/*.sql`) and functions (`functions/*.sql`) are files, one question each,
named like the method that asks it. Drivers' errors end here: what leaves this package is ours.
"""
