-- Settling: an admission becomes a ticket, once, by one record.
--
-- Lock order: leases, inventory, tallies (both in event order), tickets. Whoever makes or moves a ticket of an event
-- holds that event's tallies row first, so what is read after the lock cannot change before the commit. That is why
-- no statement here needs `on conflict`.
--
-- tallies.issued     tickets ever made for the event
-- tallies.confirmed  tickets whose status is `confirmed` now
-- tallies.cancelled  tickets whose status is `cancelled` now
-- tallies.expired    tickets whose status is `expired` now
-- So pending = issued - confirmed - cancelled - expired, and inventory.reserved = pending + confirmed + admissions
-- that have no ticket yet.

-- For each record (event, user, sequence, number, source; source names the record: `<topic id>-<partition>@<offset>`)
-- in order, from 1:
--   issued          the ticket was made now
--   by_this_record  it was made by this very record before: a crash came between SQL and Kafka, announce it again
--   before          another record (or the API) settled this admission: a repeat
--   unknown         there is no such admission: all four must be as admission wrote them, so a forged number is not
--                   believed for its true user
--   superseded      the user has a live ticket from another admission: `release_admission` gives this one back
-- The ticket's columns are set for the first two only.
-- The former shape, which did not ask for the number.
drop function if exists settle(text[], text[], bigint[], text[]);
create or replace function settle(p_events text[], p_users text[], p_sequences bigint[], p_numbers bigint[],
                                  p_sources text[])
returns table (ordinal bigint, outcome text, ticket_id uuid, number bigint, status text,
               issued_at timestamptz, expires_at timestamptz)
language plpgsql
-- A crowd fills these tables within seconds, long before their statistics say so. A plan made while they were empty
-- would read them from end to end for every row; by index it is right at every size.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
    perform from tallies y
    where y.event_id = any (array(select distinct e from unnest(p_events) e))
    order by y.event_id for update;

    return query
    with asked as (
        select a.ordinal, a.event_id, a.user_id, a.sequence, a.claimed_number, a.source
        from unnest(p_events, p_users, p_sequences, p_numbers, p_sources) with ordinality
             as a (event_id, user_id, sequence, claimed_number, source, ordinal)
    ), seen as materialized (
        select a.*, d.number, l.hold_s, t.ticket_id as old_id, t.settled_by, t.status as old_status,
               t.issued_at as old_issued_at, t.expires_at as old_expires_at,
               t.ticket_id is null and (
                   select true from tickets o where o.event_id = a.event_id and o.user_id = a.user_id
                                                and o.status in ('pending', 'confirmed')) is not null as holds_another
        from asked a
        left join lateral (
            select * from admissions d where d.event_id = a.event_id and d.number = a.claimed_number offset 0
        ) d on d.user_id = a.user_id and d.sequence = a.sequence
        left join lateral (select l.hold_s from lines l where l.event_id = d.event_id offset 0) l on true
        left join lateral (
            select * from tickets t where t.event_id = d.event_id and t.number = d.number offset 0
        ) t on true
    ), fresh as materialized (
        -- `earlier` is the same user's admission before this one in this batch: equal if it came twice.
        select s.*, lag(s.sequence) over (partition by s.user_id, s.event_id order by s.sequence, s.ordinal) as earlier
        from seen s where s.number is not null and s.old_id is null
    ), chosen as materialized (
        select f.*, uuidv7() as new_id, clock_timestamp() as now
        from fresh f where f.earlier is null and not f.holds_another
    ), made as (
        insert into tickets (ticket_id, event_id, user_id, sequence, number, status, issued_at, changed_at, expires_at,
                             settled_by)
        select c.new_id, c.event_id, c.user_id, c.sequence, c.number,
               case when c.hold_s is null then 'confirmed' else 'pending' end,
               c.now, c.now, c.now + make_interval(secs => c.hold_s), c.source
        from chosen c order by c.ordinal
    ), counted as (
        update tallies y set issued = y.issued + n.made, confirmed = y.confirmed + n.confirmed
        from (select c.event_id, count(*) as made, count(*) filter (where c.hold_s is null) as confirmed
              from chosen c group by c.event_id) n
        where y.event_id = n.event_id
    )
    select c.ordinal, 'issued', c.new_id, c.number, case when c.hold_s is null then 'confirmed' else 'pending' end,
           c.now, c.now + make_interval(secs => c.hold_s)
    from chosen c
    union all
    select f.ordinal, case when f.earlier = f.sequence then 'before' else 'superseded' end, null, null, null, null, null
    from fresh f where f.earlier is not null or f.holds_another
    union all
    select s.ordinal, case when s.number is null then 'unknown' when s.settled_by = s.source then 'by_this_record'
                           else 'before' end,
           s.old_id, s.number, s.old_status, s.old_issued_at, s.old_expires_at
    from seen s where s.number is null or s.old_id is not null;
end $$;

-- The same for a batch as a crowd makes it, in one insert: every record's admission is as admission wrote it, and none
-- is settled. All tickets are made now, under the ids that the caller gives, or none: then there is no row, and `settle`
-- says what each record comes to.
--
-- p_events            the events of the batch, each once; p_which has for each record the place of its own there, from 1
-- p_users, p_sources  a line of text for each record
-- → per event its hold time (null: confirmed at issue), and when its tickets were issued
-- The former shapes: which looked into `lines` for each record, and which took arrays of text.
drop function if exists settle_all(uuid[], text[], text[], bigint[], bigint[], text[]);
drop function if exists settle_all(uuid[], text[], integer[], text[], bigint[], bigint[], text[]);
create or replace function settle_all(p_ids uuid[], p_events text[], p_which integer[], p_users text,
                                      p_sequences bigint[], p_numbers bigint[], p_sources text)
returns table (event_id text, hold_s integer, issued_at timestamptz)
language plpgsql
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_now timestamptz;
    v_holds integer[];  -- by the place of the event; -1: none
    v_made bigint;
begin
    perform from tallies y where y.event_id = any (p_events) order by y.event_id for update;
    v_now := clock_timestamp();
    v_holds := array(
        select coalesce((select l.hold_s from lines l where l.event_id = e.event_id), -1)
        from unnest(p_events) with ordinality as e (event_id, place) order by e.place
    );

    begin
        insert into tickets (ticket_id, event_id, user_id, sequence, number, status, issued_at, changed_at, expires_at,
                             settled_by)
        select a.ticket_id, d.event_id, d.user_id, d.sequence, d.number,
               case when v_holds[a.which] < 0 then 'confirmed' else 'pending' end,
               v_now, v_now, v_now + make_interval(secs => nullif(v_holds[a.which], -1)), a.source
        from unnest(p_ids, p_which, string_to_array(p_users, chr(10)), p_sequences, p_numbers,
                    string_to_array(p_sources, chr(10)))
             as a (ticket_id, which, user_id, sequence, number, source)
        cross join lateral (
            select * from admissions d where d.event_id = p_events[a.which] and d.number = a.number offset 0
        ) d
        where d.user_id = a.user_id and d.sequence = a.sequence;
        get diagnostics v_made = row_count;
        if v_made < cardinality(p_ids) then
            raise no_data_found;
        end if;
    exception when unique_violation or no_data_found then
        return;
    end;

    update tallies y set issued = y.issued + n.made,
                         confirmed = y.confirmed + case when v_holds[n.which] < 0 then n.made else 0 end
    from (select w.which, count(*) as made from unnest(p_which) as w (which) group by w.which) n
    where y.event_id = p_events[n.which];
    return query select e.event_id, nullif(v_holds[e.place], -1), v_now
                 from unnest(p_events) with ordinality as e (event_id, place);
end $$;


-- Give back an admission whose user holds a live ticket already: it is settled by a ticket that was never live, and
-- its reservation returns. Nothing if it is settled, or if it is not superseded any more.
create or replace function release_admission(p_event text, p_user text, p_sequence bigint, p_source text)
returns void language plpgsql as $$
begin
    perform from inventory i where i.event_id = p_event for update;
    perform from tallies y where y.event_id = p_event for update;
    insert into tickets (event_id, user_id, sequence, number, status, settled_by)
    select d.event_id, d.user_id, d.sequence, d.number, 'cancelled', p_source
    from admissions d
    where d.event_id = p_event and d.user_id = p_user and d.sequence = p_sequence
      and not exists (select from tickets t where t.event_id = d.event_id and t.number = d.number)
      and exists (select from tickets t where t.user_id = d.user_id and t.event_id = d.event_id
                                          and t.status in ('pending', 'confirmed'));
    if found then
        update inventory i set reserved = i.reserved - 1 where i.event_id = p_event;
        update tallies y set issued = y.issued + 1, cancelled = y.cancelled + 1 where y.event_id = p_event;
        perform pg_notify('fairgate_lines', p_event);
    end if;
end $$;
