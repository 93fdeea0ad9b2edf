-- name: progress^
-- How far the pipeline is, over all events of a run. `unsent`: messages that Kafka does not have, of them and all else.
select (select sum(next_number - 1) from inventory where event_id = any(:event_ids))::bigint as admitted,
       (select sum(issued) from tallies where event_id = any(:event_ids))::bigint as issued,
       (select coalesce(sum(messages), 0) from outbox where sent_at is null)::bigint as unsent,
       (select coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0) from outbox
         where sent_at is null)::double precision as age_s,
       (select array_agg(generation order by event_id) from lines where event_id = any(:event_ids)) as generations;

-- name: sizes^
-- What must not grow for ever, and who is connected.
select (select count(*) from outbox) as outbox_rows, pg_database_size(current_database()) as bytes,
       (select count(*) from pg_stat_activity where datname = current_database()) as connections;
