-- name: in_flight_max$
-- Messages of `ticket-issue` that ticketing has not read, as last measured; null where nobody has within `fresh_s`.
select max(messages) from lags
where topic = :topic and measured_at > clock_timestamp() - make_interval(secs => :fresh_s);

-- name: counted_rows
-- The rows behind the counters of each event. Reads all of them.
select l.event_id, coalesce(a.admissions, 0) as admissions, coalesce(a.unsettled, 0) as unsettled,
       coalesce(t.pending, 0) as pending, coalesce(t.confirmed, 0) as confirmed, coalesce(t.cancelled, 0) as cancelled,
       coalesce(t.expired, 0) as expired, coalesce(d.departures, 0) as departures
from lines l
left join (
    select a.event_id, count(*) as admissions, count(*) filter (where t.ticket_id is null) as unsettled
    from admissions a left join tickets t using (event_id, number) group by a.event_id
) a using (event_id)
left join (
    select event_id, count(*) filter (where status = 'pending') as pending,
           count(*) filter (where status = 'confirmed') as confirmed,
           count(*) filter (where status = 'cancelled') as cancelled,
           count(*) filter (where status = 'expired') as expired
    from tickets group by event_id
) t using (event_id)
left join (
    select event_id, count(*) as departures from departures where reason <> 'left' group by event_id
) d using (event_id)
order by l.event_id;

-- name: admissions_without_ticket
-- The oldest first: what is on its way was admitted last.
select a.event_id, a.user_id, a.sequence, a.number
from admissions a left join tickets t using (event_id, number)
where t.ticket_id is null order by a.admitted_at, a.event_id, a.number limit :limit;

-- name: admissions_without_number
-- No counter has given these numbers.
select a.event_id, a.user_id, a.sequence, a.number
from admissions a join inventory i using (event_id)
where a.number >= i.next_number or a.number < 1 order by a.event_id, a.number limit :limit;

-- name: tickets_without_admission
select t.event_id, t.user_id, t.sequence, t.number
from tickets t left join admissions a using (event_id, number)
where a.event_id is null or (a.user_id, a.sequence) <> (t.user_id, t.sequence) order by t.event_id, t.number limit :limit;

-- name: admitted_out_of_order
-- Who was admitted after somebody who joined later in the same generation. Not those whom a recovery brought back after
-- others had passed.
select event_id, user_id, sequence, number
from (
    select a.*, max(a.sequence) over (
        partition by a.event_id, a.sequence >> 40 order by a.number rows between unbounded preceding and 1 preceding
    ) as passed
    from admissions a where a.source = 'line'
) a
where a.sequence < a.passed
  and not exists (select from recoveries r
                  where r.event_id = a.event_id and r.generation >= a.sequence >> 40 and r.at <= a.admitted_at)
order by event_id, number limit :limit;

-- name: numbers_used_twice
select event_id, user_id, sequence, number
from (select t.*, count(*) over (partition by t.event_id, t.number) as uses from tickets t) t
where uses > 1 order by event_id, number, user_id limit :limit;

-- name: several_live_tickets
select event_id, user_id, sequence, number
from (
    select t.*, count(*) over (partition by t.event_id, t.user_id) as lives
    from tickets t where t.status in ('pending', 'confirmed')
) t
where lives > 1 order by event_id, user_id, number limit :limit;

-- name: told_twice
-- Several inbox rows that tell of the same ticket.
select t.event_id, t.user_id, t.sequence, t.number
from tickets t
join (
    select r.user_id, r.ticket_id
    from (select user_id, coalesce(payload ->> 'ticketId', substr(id, length('issued:') + 1)) as ticket_id
          from inbox where id like 'issued:%') r
    group by r.user_id, r.ticket_id having count(*) > 1
) n on n.user_id = t.user_id and n.ticket_id = t.ticket_id::text
order by t.event_id, t.number limit :limit;
