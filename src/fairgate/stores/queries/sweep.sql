-- name: database_time$
select clock_timestamp();

-- name: complete_until$
select complete_until from sweeps where name = :sweep;

-- name: note_complete!
insert into sweeps (name, complete_until) values (:sweep, :until)
on conflict (name) do update set complete_until = excluded.complete_until;

-- name: visible_until$
-- Up to :before, or where the oldest transaction began that has written by now: what was stamped earlier can be seen from now
-- on, or never, since a row is stamped when its transaction has its number. Where we may not see what somebody is at: :margin
-- before.
select least(cast(:before as timestamptz), min(case
    when backend_xid is not null then coalesce(xact_start, cast(:before as timestamptz) - cast(:margin as interval))
    when state is null or state = 'disabled' then cast(:before as timestamptz) - cast(:margin as interval)
end))
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
  and coalesce(backend_type, 'client backend') = 'client backend';

-- name: all_settled$
-- Whether there are as many tickets as numbers, for the admissions between :since (null: ever) and :before: it costs a third
-- of a look at each, and in a rush nothing is missing.
with looked as materialized (
    select a.event_id, min(a.number) as first, max(a.number) as last from inventory i
    join tallies t on t.event_id = i.event_id
    join admissions a on a.event_id = i.event_id
    where i.next_number - 1 > t.issued
      and a.admitted_at < :before and a.admitted_at >= coalesce(cast(:since as timestamptz), '-infinity')
    group by a.event_id
)
select coalesce(bool_and(
    (select count(*) from tickets k where k.event_id = l.event_id and k.number between l.first and l.last) > l.last - l.first
), true)
from looked l;

-- name: all_told$
-- Whether as many were told as there are tickets, of those between :since (null: ever), but of the last day, and :before.
-- Ids grow with time, and who was told has a ticket.
with looked as materialized (
    select cast(min(t.ticket_id::text collate "C") as uuid) as first,
           cast(max(t.ticket_id::text collate "C") as uuid) as last
    from tickets t
    where t.issued_at < :before
      and t.issued_at >= greatest(cast(:since as timestamptz), cast(:before as timestamptz) - interval '1 day')
)
select (select count(*) from tickets_told k where k.ticket_id between l.first and l.last)
           >= (select count(*) from tickets k where k.ticket_id between l.first and l.last)
from looked l;

-- name: resend_lost_admissions^
-- Admissions between :since (null: ever) and :before that have no ticket, and no message that was still to be sent then:
-- into the outbox again, as runs of numbers that were admitted at one moment. → how many, and the oldest of all without a
-- ticket.
with unsettled as materialized (
    select a.* from inventory i
    join tallies t on t.event_id = i.event_id
    join admissions a on a.event_id = i.event_id
    where i.next_number - 1 > t.issued
      and a.admitted_at < :before and a.admitted_at >= coalesce(cast(:since as timestamptz), '-infinity')
      and not exists (select from tickets k where k.event_id = a.event_id and k.number = a.number)
), ordered as materialized (
    select distinct unnest(o.keys) as event_id from outbox o
    where o.topic = 'ticket-issue' and o.created_at < :before and (o.sent_at is null or o.sent_at >= :before)
), lost as (
    select a.* from unsettled a
    where not exists (select from ordered o where o.event_id = a.event_id)
    order by a.event_id, a.number limit :limit
), told as (
    insert into outbox (shard, topic, keys, first_numbers, counts, messages)
    select r.shard, 'ticket-issue', array_agg(r.event_id order by r.event_id, r.first),
           array_agg(r.first order by r.event_id, r.first), array_agg(r.count order by r.event_id, r.first), sum(r.count)
    from (
        select l.shard, a.event_id, a.admitted_at, min(a.number) as first, count(*) as count
        from (
            select a.*, a.number - row_number() over (partition by a.event_id, a.admitted_at order by a.number) as run
            from lost a
        ) a join lines l on l.event_id = a.event_id
        group by l.shard, a.event_id, a.admitted_at, a.run
    ) r
    group by r.shard, r.admitted_at
    order by r.admitted_at
)
select (select count(*) from lost) as count, (select min(admitted_at) from unsettled) as oldest;

-- name: reannounce_untold_tickets^
-- Tickets between :since (null: ever), but of the last day, and :before that nobody was told of: announced again, under the
-- same message id. → how many, and the oldest of all that nobody was told of.
with untold as materialized (
    select t, t.issued_at, t.ticket_id from tickets t
    where t.issued_at < :before
      and t.issued_at >= greatest(cast(:since as timestamptz), cast(:before as timestamptz) - interval '1 day')
      and not exists (select from tickets_told k where k.ticket_id = t.ticket_id)
), announced as (
    select announce_ticket(u.t, :shard) from untold u
    where not exists (select from outbox o where o.sent_at is null and o.ids = array['issued:' || u.ticket_id])
    order by u.issued_at
    limit :limit
)
select (select count(*) from announced) as count, (select min(issued_at) from untold) as oldest;
