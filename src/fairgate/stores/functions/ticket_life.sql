-- The life of a ticket after its issue.

-- Move tickets to `p_to` from any status in `p_from` (the rule itself is domain/ticket.py). `p_owners` has the user
-- who asks, or null for a service: another's ticket is as good as none. One row per id that exists for its owner, in
-- any order: outcome `moved`, `already` (it has that status), `conflict`; with the ticket as it is afterwards.
-- What stops being live gives its reservation back, and admission is told.
create or replace function move_tickets(p_ids uuid[], p_owners text[], p_from text[], p_to text)
returns table (outcome text, ticket_id uuid, event_id text, user_id text, sequence bigint, number bigint, status text,
               issued_at timestamptz, expires_at timestamptz)
language plpgsql
-- Ticket by ticket, whatever the size of the table was when this was planned.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
as $$
declare
    v_events text[] := array(select distinct t.event_id::text from tickets t where t.ticket_id = any (p_ids));
    v_returns constant boolean := p_to in ('cancelled', 'expired');
begin
    if v_returns then
        perform from inventory i where i.event_id = any (v_events) order by i.event_id for update;
    end if;
    perform from tallies y where y.event_id = any (v_events) order by y.event_id for update;

    return query
    with before as materialized (
        select t.* from tickets t
        join unnest(p_ids, p_owners) as a (ticket_id, owner) on a.ticket_id = t.ticket_id
        where a.owner is null or a.owner = t.user_id
        order by t.ticket_id for update of t
    ), moved as (
        update tickets t set status = p_to, changed_at = clock_timestamp()
        from before b where t.ticket_id = b.ticket_id and b.status = any (p_from)
        returning t.event_id, b.status as was
    ), sums as (
        select m.event_id, count(*) as n, count(*) filter (where m.was = 'confirmed') as unconfirmed
        from moved m group by m.event_id
    ), given_back as (
        update inventory i set reserved = i.reserved - s.n from sums s where i.event_id = s.event_id and v_returns
        returning pg_notify('fairgate_lines', i.event_id::text)
    ), counted as (
        update tallies y
        set confirmed = y.confirmed - s.unconfirmed + case when p_to = 'confirmed' then s.n else 0 end,
            cancelled = y.cancelled + case when p_to = 'cancelled' then s.n else 0 end,
            expired = y.expired + case when p_to = 'expired' then s.n else 0 end
        from sums s where y.event_id = s.event_id
    )
    select case when b.status = any (p_from) then 'moved' when b.status = p_to then 'already' else 'conflict' end,
           b.ticket_id, b.event_id::text, b.user_id::text, b.sequence, b.number,
           case when b.status = any (p_from) then p_to else b.status end, b.issued_at, b.expires_at
    from before b;
end $$;


-- The heartbeat of who expires tickets, and up to `p_limit` tickets whose hold ran out. If nobody's heart beat for
-- `p_silence_s`, Fairgate was down (or this database was): every hold gets the time back in which nobody could confirm.
-- Both in one statement, so that who freezes in between cannot take a hold that the silence will extend.
create or replace function overdue_tickets(p_limit integer, p_silence_s double precision)
returns setof uuid language plpgsql as $$
declare
    v_now constant timestamptz := clock_timestamp();
    v_last timestamptz;
begin
    insert into heartbeats as h (name, at) values ('expire', v_now) on conflict (name) do nothing;
    select h.at into v_last from heartbeats h where h.name = 'expire' for update;
    if v_now - v_last > make_interval(secs => p_silence_s) then
        -- What somebody else holds is just being confirmed or cancelled: it needs no time. Nobody waits for anybody.
        with held as (
            select t.ticket_id from tickets t where t.status = 'pending' and t.expires_at > v_last
            for update skip locked
        )
        update tickets t set expires_at = t.expires_at + (v_now - greatest(v_last, t.issued_at))
        from held where t.ticket_id = held.ticket_id;
    end if;
    update heartbeats h set at = greatest(h.at, v_now) where h.name = 'expire';
    return query select t.ticket_id from tickets t
                 where t.status = 'pending' and t.expires_at <= v_now order by t.expires_at limit p_limit;
end $$;
