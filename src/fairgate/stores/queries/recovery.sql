-- name: ends_of_line
-- Of each user the highest place that SQL knows the end of: admitted, sent away, or left while Kafka was away.
select user_id, max(sequence) as sequence from (
    select user_id, sequence from admissions where event_id = :event_id and sequence > 0
    union all
    select user_id, sequence from departures where event_id = :event_id
) ended group by user_id;

-- name: ended_users
-- The next users, by name, of whom SQL knows what became of them.
select user_id from (
    (select distinct user_id from admissions where event_id = :event_id and user_id > :after order by user_id limit :limit)
    union
    (select distinct user_id from departures where event_id = :event_id and user_id > :after order by user_id limit :limit)
) ended order by user_id limit :limit;

-- name: keep_leave!
-- A leave that Kafka does not have: no recovery brings this place back. A repeat is harmless.
insert into departures (event_id, user_id, sequence, reason) values (:event_id, :user_id, :sequence, 'left')
on conflict do nothing;

-- name: counters_of_line^
select (select count(*) from admissions where event_id = :event_id and sequence > 0) as admitted,
       (select count(*) from departures where event_id = :event_id and reason <> 'left') as departed,
       (select coalesce(max(sequence), 0) from admissions where event_id = :event_id and sequence > 0) as serving;

-- name: highest_admitted
-- Of each line the highest sequence among those admitted last: no server that knows less of it is up to date.
select e.event_id, max(a.sequence) as sequence
from unnest(:events::text[]) as e (event_id)
cross join lateral (select sequence from admissions where event_id = e.event_id order by number desc limit 1000) a
group by e.event_id;

-- name: marks_of_line
select generation, watermark from recoveries where event_id = :event_id order by generation;

-- name: insert_recovery!
insert into recoveries (event_id, generation, watermark, cause, present, by_journal, removed, waiting, seconds)
values (:event_id, :generation, :watermark, :cause, :present, :by_journal, :removed, :waiting, :seconds)
on conflict (event_id, generation) do nothing;

-- name: came_back_by_token!
update recoveries set by_token = :count where event_id = :event_id and generation = :generation;

-- name: ask_for_rebuild^
-- The owner of the line ends this generation. Null where the line was never prepared, or there is none.
update lines set rebuild = generation, version = nextval('line_versions')
where event_id = :event_id and generation > 0
returning generation;

-- name: lines_have_an_owner$
select exists (select from leases where name like 'lines:%' and until > clock_timestamp());

-- name: recovery_of^
select * from recoveries where event_id = :event_id and generation = :generation;

-- name: last_recoveries
-- Of each line (null: all) the recovery that was last.
select distinct on (event_id) * from recoveries
where :event_id::text is null or event_id = :event_id order by event_id, generation desc;
