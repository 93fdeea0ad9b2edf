-- name: oldest_unsent
-- At least one, if there is any; and no more than hold so many messages together. Where a row names admissions, with those,
-- run by run: one look into their index for each.
-- `+ 0`: in the order of ids the table has all that was sent in the last minutes before the first that is not, and a plan
-- that was made for any limit would go that way.
select r.id, r.shard, r.topic, r.keys, r.ids, r.payload, r.first_numbers, r.counts, r.messages,
       a.users, a.sequences, a.admitted_ms
from (
    select r.*, sum(r.messages) over (order by r.id) - r.messages as before
    from (
        select * from outbox
        where sent_at is null and shard = any(:shards::smallint[])
        order by id + 0 limit :limit
    ) r
) r
left join lateral (
    select array_agg(a.user_id::text order by n.nth, a.number) as users,
           array_agg(a.sequence order by n.nth, a.number) as sequences,
           epoch_millis(min(a.admitted_at)) as admitted_ms
    from unnest(r.keys, r.first_numbers, r.counts) with ordinality as n (event_id, first, count, nth)
    cross join lateral (
        select a.user_id, a.sequence, a.number, a.admitted_at from admissions a
        where a.event_id = n.event_id and a.number >= n.first and a.number < n.first + n.count
        offset 0
    ) a
) a on r.first_numbers is not null
where r.before < :messages
order by r.id;

-- name: mark_sent!
update outbox set sent_at = clock_timestamp() where id = any(:row_ids::bigint[]) and sent_at is null;

-- name: prune_sent$
-- The oldest first, by their index: `now()` is one moment for all rows, where `clock_timestamp()` has to be asked for each.
with old as (
    delete from outbox where id = any(array(
        select id from outbox where sent_at < now() - make_interval(secs => :seconds) order by sent_at limit :limit
    )) returning 1
)
select count(*) from old;

-- name: tell_outbox!
select pg_notify('fairgate_outbox', '');

-- name: pipeline_load^
-- What slows admission: the age of the oldest row that Kafka does not have yet, and how far the consumers are behind who
-- make and tell tickets. 0 where there is none, and where nobody has measured within `fresh_s`. What other services have
-- told to topic notification is no reason to keep a line waiting.
select coalesce((select extract(epoch from clock_timestamp() - min(created_at)) from outbox where sent_at is null), 0)
           ::double precision as outbox_age_s,
       coalesce(max(l.messages), 0) as lag,
       coalesce(max(l.seconds), 0)::double precision as lag_s
from lags l
where l.bounds_admission and l.measured_at > clock_timestamp() - make_interval(secs => :fresh_s);

-- name: note_lags!
insert into lags ("group", topic, messages, seconds, bounds_admission)
select * from unnest(:groups::text[], :topics::text[], :messages::bigint[], :seconds::double precision[], :bounding::boolean[])
on conflict ("group", topic) do update
    set messages = excluded.messages, seconds = excluded.seconds, bounds_admission = excluded.bounds_admission,
        measured_at = excluded.measured_at;

-- name: unsent^
-- How many rows Kafka does not have yet, and the age of the oldest in seconds.
select count(*) as rows, coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::double precision as age_s
from outbox where sent_at is null;
