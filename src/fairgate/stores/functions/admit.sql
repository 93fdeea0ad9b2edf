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
        insert into outbox (shard, topic, keys, first_numbers, counts, messages)
        select r.shard, 'ticket-issue', array_agg(r.event_id), array_agg(r.first), array_agg(r.count), sum(r.count)
        from (
            select p.shard, p.event_id, min(p.number) as first, count(*) as count
            from placed p where p.fits group by p.shard, p.event_id
        ) r group by r.shard
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

-- The same for the claims of one line as a crowd makes them, in the order of their sequences: there is room for all, and
-- nobody of them was ever admitted to this line, or told that the wait is over. All are admitted, or nobody is: then
-- `admit` says what each claim comes to.
-- p_users  a line of text each
-- → the number of the first; null where nobody is admitted
drop function if exists admit_crowd(text, bigint, text, text[], bigint[]);
create or replace function admit_crowd(p_lease text, p_epoch bigint, p_event text, p_users text, p_sequences bigint[])
returns bigint
language plpgsql
-- As in `settle`: right at every size, also before there are statistics.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_event constant fairgate_id := p_event;  -- an id once, not once a row
    v_count constant bigint := cardinality(p_sequences);
    v_now timestamptz;
    v_line record;
    v_admitted bigint;
    v_some_departed boolean;
begin
    perform assert_leases(array[p_lease], array[p_epoch]);
    perform from inventory i where i.event_id = p_event for update;
    v_now := clock_timestamp();
    select l.shard, i.next_number, i.capacity - i.reserved as stock, bucket(i, l, v_now) as tokens into v_line
    from inventory i join lines l on l.event_id = i.event_id where i.event_id = p_event;
    if least(v_line.stock, floor(v_line.tokens)) < v_count then
        return null;
    end if;
    -- Asked once: in most lines nobody ever departs. Who does is written under the same row's lock.
    v_some_departed := (select true from departures d where d.event_id = p_event limit 1) is not null;

    begin
        insert into admissions (event_id, number, user_id, sequence, source, admitted_at)
        select v_event, v_line.next_number + c.place - 1, c.user_id, c.sequence, 'line', v_now
        from unnest(string_to_array(p_users, chr(10)), p_sequences) with ordinality as c (user_id, sequence, place)
        where (select true from admissions a where a.event_id = p_event and a.user_id = c.user_id limit 1) is null
          and (not v_some_departed
               or (select true from departures d
                    where d.event_id = p_event and d.user_id = c.user_id and d.sequence = c.sequence
                      and d.reason <> 'left') is null);
        get diagnostics v_admitted = row_count;
        if v_admitted < v_count then
            raise no_data_found;
        end if;
    exception when unique_violation or no_data_found then
        return null;
    end;

    update inventory i set reserved = i.reserved + v_count, next_number = i.next_number + v_count,
                           tokens = v_line.tokens - v_count, tokens_at = v_now
    where i.event_id = p_event;
    insert into outbox (shard, topic, keys, first_numbers, counts, messages)
    values (v_line.shard, 'ticket-issue', array[p_event], array[v_line.next_number], array[v_count], v_count);
    return v_line.next_number;
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

-- What wrote the messages of admissions into the outbox, which names them now.
drop function if exists issue_message(text, text, bigint, bigint, timestamptz);
drop function if exists issue_message(text, text, bigint, bigint, bigint);
drop function if exists issue_message(text, bigint, bigint, text);
drop function if exists issue_message_rest(text, bigint);
