"""Who asks: sessions, and what users say of themselves.

The protocol of a session. The token is signed (`domain.session`), so a forged one costs no server. Its hash stands in
Valkey with a sliding expiry. A process asks Valkey about a token the first time it sees it, and then at most once a
minute, which is also what moves the expiry. What a missing hash means, the generation and the age decide:

- the token is older than the idle time, and of the store's present generation: it expired (401);
- anything else: the store lost it (wiped, failed over, an unclean restart). It is put back, unless SQL says revoked.

A logout is a row in SQL first. Every process reads new rows each second, so it holds everywhere within two, whatever
happens to Valkey. Without Valkey, a process goes on believing the tokens it has seen; it cannot believe new ones.
"""
