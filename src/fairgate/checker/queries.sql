-- name: stock^
select i.capacity, i.reserved, i.next_number, y.issued, y.confirmed, y.cancelled, y.expired,
       l.rate, l.burst, l.state, l.generation,
       (select coalesce(sum(coalesce(r.count, 1)), 0)
        from outbox o cross join unnest(o.keys, o.counts) as r (event_id, count)
        where o.sent_at is null and o.topic = 'ticket-issue' and r.event_id = i.event_id)::bigint as unsent
from inventory i join tallies y using (event_id) join lines l using (event_id) where event_id = :event_id;

-- name: admissions
select user_id, sequence, number, source, extract(epoch from admitted_at)::double precision as at
from admissions where event_id = :event_id order by number;

-- name: departures
-- Who was told that the wait is over.
select user_id, sequence, reason from departures where event_id = :event_id and reason <> 'left';

-- name: tickets
select ticket_id::text as ticket_id, user_id, sequence, number, status,
       extract(epoch from issued_at)::double precision as at, settled_by
from tickets where event_id = :event_id order by number;

-- name: inbox
-- Everything that the users of this event were told, in the order in which it was kept.
-- A row without a payload tells of the ticket that its id names.
select n.user_id, n.id, n.kind, coalesce(n.payload ->> 'ticketId', t.ticket_id::text) as ticket_id,
       n.seen_at is not null as seen, extract(epoch from n.created_at)::double precision as at
from inbox n
left join tickets t on t.ticket_id = case when n.payload is null then substr(n.id, length('issued:') + 1)::uuid end
where coalesce(n.payload ->> 'eventId', n.payload -> 'data' ->> 'eventId', t.event_id) = :event_id
order by n.tx, n.seq;

-- name: progress^
-- How far the pipeline is. `unsent`: messages in the outbox that Kafka does not have.
select i.next_number - 1 as admitted, y.issued,
       (select coalesce(sum(messages), 0) from outbox where sent_at is null)::bigint as unsent,
       (select count(*) from departures where event_id = :event_id and reason <> 'left') as departed
from inventory i join tallies y using (event_id) where event_id = :event_id;

-- name: last_tickets
-- From the admission to the ticket, in seconds, for the latest ones.
select extract(epoch from t.issued_at - a.admitted_at)::double precision as seconds
from admissions a join tickets t using (event_id, user_id, sequence)
where a.event_id = :event_id and a.number > :after;

-- name: inbox_of
-- What one user was told of this event, and how long it took to be seen, or is unseen.
select n.kind, n.seen_at is not null as seen,
       extract(epoch from coalesce(n.seen_at, clock_timestamp()) - n.created_at)::double precision as seconds
from inbox_of(:user_id) n
left join tickets t on t.ticket_id = case when n.payload is null then substr(n.id, length('issued:') + 1)::uuid end
where coalesce(n.payload ->> 'eventId', n.payload -> 'data' ->> 'eventId', t.event_id) = :event_id
order by n.tx, n.seq;
