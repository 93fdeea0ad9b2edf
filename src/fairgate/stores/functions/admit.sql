-- Admit claims of several lines at once: the fence, the stock, the numbers, the admissions and the outbox in one step.
--
-- p_leases, p_epochs    the leases that the caller believes to hold, one per shard
-- p_events, p_users, p_sequences   the claims, in any order
-- → one row per claim: outcome 'admitted' (with its number), 'served' (has a live ticket, or an admission on its way, of
--   another sequence), 'departed' (was told that the wait is over) or 'held' (nothing to reserve, or no token in the
--   rate's bucket: stays claimed)
-- A leave kept in `departures` refuses nobody: whoever stands in the line after it was not answered that they left.
-- The rate is kept here: one clock, read under the line's lock, fills the bucket and stamps the admissions, so that a
-- statement that comes late, or two of them, pass no more than the rate allows (I7). What the caller thought only spares
-- it a round in vain.
-- A repeat is harmless: an admission of the same (event, user, sequence) is returned as it is.
-- Errors: FG001 a lease has another owner.
create or replace function admit(
    p_leases text[], p_epochs bigint[], p_events text[], p_users text[], p_sequences bigint[]
) returns table (event_id text, user_id text, sequence bigint, outcome text, number bigint)
language plpgsql as $$
#variable_conflict use_column
declare
    v_now timestamptz;
begin
    perform assert_leases(p_leases, p_epochs);
    perform from inventory i where i.event_id = any (p_events) order by i.event_id for update;
    v_now := clock_timestamp();
    return query
    with claims as (
        select c.event_id, c.user_id, c.sequence
        from unnest(p_events, p_users, p_sequences) as c (event_id, user_id, sequence)
    ), known as (
        select c.*,
            (select a.number from admissions a
              where a.event_id = c.event_id and a.user_id = c.user_id and a.sequence = c.sequence) as had,
            exists (select from departures d
              where d.event_id = c.event_id and d.user_id = c.user_id and d.sequence = c.sequence
                and d.reason <> 'left') as departed,
            exists (select from tickets t
              where t.event_id = c.event_id and t.user_id = c.user_id and t.status in ('pending', 'confirmed'))
            or exists (select from admissions a
              where a.event_id = c.event_id and a.user_id = c.user_id and a.sequence <> c.sequence
                and not exists (select from tickets t where t.user_id = a.user_id
                                and t.event_id = a.event_id and t.sequence = a.sequence)) as served
        from claims c
    ), fresh as (
        select k.event_id, k.user_id, k.sequence, i.next_number,
               least(i.capacity - i.reserved, floor(bucket(i, l, v_now))) as room,
               row_number() over (partition by k.event_id order by k.sequence) as place
        from known k join inventory i on i.event_id = k.event_id join lines l on l.event_id = k.event_id
        where k.had is null and not k.departed and not k.served
    ), fitting as (
        select f.event_id, f.user_id, f.sequence, f.next_number + f.place - 1 as number
        from fresh f where f.place <= f.room
    ), admitted as (
        insert into admissions (event_id, number, user_id, sequence, source, admitted_at)
        select f.event_id, f.number, f.user_id, f.sequence, 'line', v_now
        from fitting f order by f.event_id, f.number
        returning *
    ), taken as (
        update inventory i set
            reserved = i.reserved + n.count,
            next_number = i.next_number + n.count,
            tokens = bucket(i, l, v_now) - n.count,
            tokens_at = v_now
        from (select f.event_id, count(*) as count from fitting f group by f.event_id) n
        join lines l on l.event_id = n.event_id
        where i.event_id = n.event_id
    ), told as (
        insert into outbox (shard, topic, key, payload, messages)
        select l.shard, 'ticket-issue', a.event_id,
               string_agg(issue_message(a.user_id, a.event_id, a.sequence, a.number, a.admitted_at), E'\n' order by a.number),
               count(*)
        from admitted a join lines l on l.event_id = a.event_id
        group by l.shard, a.event_id
    )
    select k.event_id::text, k.user_id::text, k.sequence,
           case when k.had is not null or f.number is not null then 'admitted'
                when k.departed then 'departed'
                when k.served then 'served'
                else 'held' end,
           coalesce(k.had, f.number)
    from known k left join fitting f on f.event_id = k.event_id and f.user_id = k.user_id and f.sequence = k.sequence;
end
$$;

-- The tokens in the bucket of a line at a moment. A clock that was set back adds nothing.
create or replace function bucket(p_inventory inventory, p_line lines, p_at timestamptz) returns double precision
language sql stable parallel safe as $$
    select least(
        p_line.burst,
        p_inventory.tokens + p_line.rate * greatest(0, extract(epoch from p_at - p_inventory.tokens_at)::double precision)
    )
$$;

-- The message `TicketIssue` (domain/messages.py). Ids need no escaping: their alphabet has none of JSON's signs.
create or replace function issue_message(
    p_user text, p_event text, p_sequence bigint, p_number bigint, p_at timestamptz
) returns text language sql immutable parallel safe as $$
    select '{"userId":"' || p_user || '","eventId":"' || p_event || '","sequence":' || p_sequence
        || ',"number":' || p_number || ',"timestamp":' || floor(extract(epoch from p_at) * 1000)::bigint || '}'
$$;
