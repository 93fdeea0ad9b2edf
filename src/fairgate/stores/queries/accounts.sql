-- name: event_accounts
-- The counters of every event as of one moment, and who owns its line.
select l.event_id, l.generation, l.state, l.sold_out_by is not null as sold_out,
       i.capacity, i.reserved, i.next_number - 1 as admitted, y.issued, y.confirmed, y.cancelled, y.expired,
       coalesce(o.unsent, 0)::bigint as unsent,
       case when s.until > clock_timestamp() then s.owner end as lease_owner,
       case when s.until > '-infinity' then extract(epoch from s.until - clock_timestamp()) else -1 end
           ::double precision as lease_s
from lines l
join inventory i using (event_id)
join tallies y using (event_id)
left join leases s on s.name = 'lines:' || l.shard
left join (
    select r.event_id, sum(coalesce(r.count, 1)) as unsent
    from outbox o cross join unnest(o.keys, o.counts) as r (event_id, count)
    where o.sent_at is null and o.topic = 'ticket-issue' group by r.event_id
) o on o.event_id = l.event_id
order by l.event_id;

-- name: backlog
-- What Kafka does not have yet, by shard of the outbox, and who should send it.
select coalesce(o.shard, substr(s.name, 8)::smallint) as shard, coalesce(o.rows, 0) as rows,
       coalesce(o.messages, 0)::bigint as messages, coalesce(o.age_s, 0)::double precision as age_s,
       case when s.until > clock_timestamp() then s.owner end as lease_owner
from (
    select shard, count(*) as rows, sum(messages) as messages,
           extract(epoch from clock_timestamp() - min(created_at)) as age_s
    from outbox where sent_at is null group by shard
) o
full join (select * from leases where name like 'outbox:%') s on s.name = 'outbox:' || o.shard
order by 1;
