-- name: mark_redriven
-- Those of these that were not redriven before. Who marks the same at the same time waits for our commit.
insert into redriven (topic, partition, "offset", written_ms)
select r.topic, r.partition, r."offset", r.written_ms
from unnest(:topics::text[], :partitions::integer[], :offsets::bigint[], :written::bigint[])
     as r (topic, partition, "offset", written_ms)
order by r.topic, r.partition, r."offset", r.written_ms
on conflict do nothing
returning topic, partition, "offset", written_ms;

-- name: all_redriven
select topic, partition, "offset", written_ms from redriven where topic = :topic;

-- name: forget_redriven!
delete from redriven where redriven_at < clock_timestamp() - make_interval(secs => :seconds);
