-- name: add_notifications
-- What is new of these; a repeat adds nothing. In one order everywhere, so that two writers never wait for each other.
with messages as (
    insert into notifications (user_id, id, kind, payload)
    select r.user_id, r.id, r.kind, r.payload::jsonb
    from unnest(:user_ids::text[], :ids::text[], :kinds::text[], :payloads::text[]) as r (user_id, id, kind, payload)
    order by r.user_id, r.id
    on conflict (user_id, id) do nothing
    returning user_id, id
), tickets as (
    insert into tickets_told (ticket_id, user_id)
    select r.ticket_id, r.user_id
    from unnest(:ticket_ids::uuid[], :owners::text[]) as r (ticket_id, user_id)
    order by r.ticket_id
    on conflict (ticket_id) do nothing
    returning user_id, 'issued:' || ticket_id as id
)
select user_id, id from messages union all select user_id, id from tickets;

-- name: keep_issued$
select keep_issued(
    :ids::uuid[], :users, :events, :sequences::bigint[], :numbers::bigint[], :statuses, :timestamps::bigint[]
);

-- name: inbox_after
-- A user's rows behind (tx, seq). Only rows that no running transaction can still get in front of.
select n.user_id, n.id, n.kind, n.payload::text as payload, n.created_at, n.seen_at, n.tx::text as tx, n.seq
from inbox_of(:user_id) n
where n.tx < pg_snapshot_xmin(pg_current_snapshot())
  and (n.tx, n.seq) > (cast(cast(:tx as text) as xid8), cast(:seq as bigint))
order by n.tx, n.seq  -- the number, not its text
limit :limit;

-- name: inbox_unseen
-- The oldest of what these users have not acknowledged. No cursor, so no row is held back. `coalesce`: by user, never by
-- the index of all that anybody has not seen.
select asked.user_id, n.*
from (select distinct user_id from unnest(:user_ids::text[]) as a (user_id)) asked
cross join lateral (
    select r.id, r.kind, r.payload::text as payload, r.created_at, r.seen_at, r.tx::text as tx, r.seq, r.tx as number
    from inbox_of(asked.user_id) r
    where coalesce(r.seen_at, 'infinity') = 'infinity'
    order by r.tx, r.seq limit :each
) n
order by n.number, n.seq;

-- name: prune_inbox$
-- Rows of that age go, whoever else is at it.
with messages as (
    delete from notifications where ctid = any(array(
        select ctid from notifications where created_at < clock_timestamp() - make_interval(days => :days)
        limit :limit for update skip locked
    )) returning 1
), tickets as (
    delete from tickets_told where ctid = any(array(
        select ctid from tickets_told where created_at < clock_timestamp() - make_interval(days => :days)
        limit :limit for update skip locked
    )) returning 1
)
select (select count(*) from messages) + (select count(*) from tickets);

-- name: inbox_edge$
-- Everything before this transaction id is over: the start of a sweep.
select pg_snapshot_xmin(pg_current_snapshot())::text;

-- name: inbox_since
-- The next edge, and the unseen rows of these users between the last edge and it.
with edge as (select pg_snapshot_xmin(pg_current_snapshot()) as tx)
select edge.tx::text as edge, n.user_id, n.id, n.kind, n.payload::text as payload, n.created_at, n.seen_at,
       n.tx::text as tx, n.seq
from edge
left join inbox n
    on n.tx >= cast(cast(:tx as text) as xid8) and n.tx < edge.tx
   and n.seen_at is null and n.user_id = any(:user_ids::text[])
order by n.tx, n.seq;

-- name: seen_among
select n.user_id, n.id
from unnest(:user_ids::text[], :ids::text[]) as asked (user_id, id)
cross join lateral (
    select user_id, id, seen_at from notifications where user_id = asked.user_id and id = asked.id offset 0
) n
where n.seen_at is not null
union all
select k.user_id, 'issued:' || k.ticket_id
from unnest(:ticket_ids::uuid[], :owners::text[]) as asked (ticket_id, user_id)
cross join lateral (select * from tickets_told where ticket_id = asked.ticket_id offset 0) k
where k.user_id = asked.user_id and k.seen_at is not null;

-- name: mark_seen
-- Those of these that exist; the first moment stays. A row that another marked meanwhile has moved, and needs no mark.
with messages as (
    select n.*
    from (
        select distinct user_id, id from unnest(:user_ids::text[], :ids::text[]) as a (user_id, id) order by user_id, id
    ) asked
    cross join lateral (
        select ctid as place, user_id, id, seen_at from notifications where user_id = asked.user_id and id = asked.id
        for no key update
    ) n
), tickets as (
    select k.*
    from (
        select distinct ticket_id, user_id from unnest(:ticket_ids::uuid[], :owners::text[]) as a (ticket_id, user_id)
        order by ticket_id
    ) asked
    cross join lateral (
        select ctid as place, user_id, 'issued:' || ticket_id as id, seen_at from tickets_told
        where ticket_id = asked.ticket_id and user_id = asked.user_id for no key update
    ) k
), messages_marked as (
    update notifications set seen_at = clock_timestamp()
    where ctid = any(array(select place from messages where seen_at is null))
), tickets_marked as (
    update tickets_told set seen_at = clock_timestamp()
    where ctid = any(array(select place from tickets where seen_at is null))
)
select user_id, id from messages union all select user_id, id from tickets;

-- name: issued_tickets
-- Of these ticket ids: what SQL says of the ticket.
select t.ticket_id::text as ticket_id, t.user_id, t.event_id, t.number, t.sequence, t.status,
       epoch_millis(t.issued_at) as timestamp, epoch_millis(t.expires_at) as expires_at
from tickets t
where t.ticket_id = any(:ticket_ids::uuid[]);

-- name: locales_of
select user_id, locale from users where user_id = any(:user_ids::text[]);
