-- name: revoke_session!
-- `until` in epoch seconds: when the token is too old by itself.
insert into revoked_sessions (hash, until) values (:hash, to_timestamp(:until)) on conflict (hash) do nothing;

-- name: revoked_among
-- Which of these are revoked.
select hash from revoked_sessions where hash = any(:hashes::text[]);

-- name: revoked_since
-- Newly revoked ones. Rows of a slower transaction show up late, therefore the overlap.
select hash, at, extract(epoch from until)::float8 as until
from revoked_sessions
where at > :since::timestamptz - interval '10 seconds' and until > clock_timestamp();

-- name: forget_revoked_sessions!
delete from revoked_sessions where until < clock_timestamp();

-- name: next_session_generation$
update session_store set generation = generation + 1 returning generation;
