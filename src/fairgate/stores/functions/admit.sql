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
    v_now_ms bigint;
begin
    perform assert_leases(p_leases, p_epochs);
    perform from inventory i where i.event_id = any (p_events) order by i.event_id for update;
    v_now := clock_timestamp();
    v_now_ms := epoch_millis(v_now);
    return query
    with here as materialized (
        select l.event_id, l.shard, i.next_number, least(i.capacity - i.reserved, floor(bucket(i, l, v_now))) as room
        from lines l join inventory i on i.event_id = l.event_id
        where l.event_id = any (p_events)
    ), known as materialized (
        -- One look into an index for each claim and table: `exists` may be planned as a look at the whole of it, once per
        -- statement, by a plan that was made while it was small. Who has never been admitted here has no ticket either.
        select c.event_id, c.user_id, c.sequence, c.departed,
            case when c.been then
                (select a.number from admissions a
                  where a.event_id = c.event_id and a.user_id = c.user_id and a.sequence = c.sequence)
            end as had,
            c.been and coalesce(
                (select true from tickets t
                  where t.event_id = c.event_id and t.user_id = c.user_id and t.status in ('pending', 'confirmed')),
                (select true from admissions a
                  where a.event_id = c.event_id and a.user_id = c.user_id and a.sequence <> c.sequence
                    and (select true from tickets t where t.event_id = a.event_id and t.number = a.number) is null limit 1)
            ) is not null as served
        from (
            select c.*,
                (select true from admissions a
                  where a.event_id = c.event_id and a.user_id = c.user_id limit 1) is not null as been,
                (select true from departures d
                  where d.event_id = c.event_id and d.user_id = c.user_id and d.sequence = c.sequence
                    and d.reason <> 'left') is not null as departed
            from unnest(p_events, p_users, p_sequences) as c (event_id, user_id, sequence)
            offset 0  -- `been` is worked out once
        ) c
    ), placed as materialized (
        select k.*, h.shard, k.fresh and k.place <= h.room as fits, h.next_number + k.place - 1 as number
        from (
            select k.*, row_number() over (partition by k.event_id, k.fresh order by k.sequence) as place
            from (select k.*, k.had is null and not k.departed and not k.served as fresh from known k) k
        ) k join here h on h.event_id = k.event_id
    ), admitted as (
        insert into admissions (event_id, number, user_id, sequence, source, admitted_at)
        select p.event_id, p.number, p.user_id, p.sequence, 'line', v_now
        from placed p where p.fits order by p.event_id, p.number
    ), taken as (
        update inventory i set
            reserved = i.reserved + n.count,
            next_number = i.next_number + n.count,
            tokens = bucket(i, l, v_now) - n.count,
            tokens_at = v_now
        from (select p.event_id, count(*) as count from placed p where p.fits group by p.event_id) n
        join lines l on l.event_id = n.event_id
        where i.event_id = n.event_id
    ), told as (
        insert into outbox (shard, topic, key, payload, messages)
        select p.shard, 'ticket-issue', p.event_id,
               string_agg(issue_message(p.user_id, p.event_id, p.sequence, p.number, v_now_ms), E'\n' order by p.number),
               count(*)
        from placed p where p.fits group by p.shard, p.event_id
    )
    select p.event_id, p.user_id, p.sequence,
           case when p.had is not null or p.fits then 'admitted'
                when p.departed then 'departed'
                when p.served then 'served'
                else 'held' end,
           case when p.fits then p.number else p.had end
    from placed p;
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
-- The former shape, which worked the time out for each message anew.
drop function if exists issue_message(text, text, bigint, bigint, timestamptz);
create or replace function issue_message(p_user text, p_event text, p_sequence bigint, p_number bigint, p_ms bigint)
returns text language sql immutable parallel safe as $$
    select '{"userId":"' || p_user || '","eventId":"' || p_event || '","sequence":' || p_sequence
        || ',"number":' || p_number || ',"timestamp":' || p_ms || '}'
$$;
