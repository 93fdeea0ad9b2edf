-- Keep the inbox rows of tickets that are as their announcements say: one insert for a batch as a crowd makes it. The rows
-- say only whom and when: the tickets say the rest.
--
-- p_ids …  the tickets as announced (p_timestamps: epoch ms), in the order of their ids, so that two writers never wait
--          for each other; users, events and statuses as a line of text each
-- → whether all of them are kept now. Otherwise none is: one was kept before, or there is no such ticket, or it has changed
drop function if exists keep_issued(uuid[], text[], text[], bigint[], bigint[], text[], bigint[], text[]);
drop function if exists keep_issued(uuid[], text[], text[], bigint[], bigint[], text[], bigint[]);

create or replace function keep_issued(p_ids uuid[], p_users text, p_events text, p_sequences bigint[],
                                       p_numbers bigint[], p_statuses text, p_timestamps bigint[])
returns boolean
language plpgsql
-- As in `settle`: right at every size, also before there are statistics.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_kept bigint;
begin
    insert into tickets_told (ticket_id, user_id)
    select t.ticket_id, t.user_id
    from unnest(p_ids, string_to_array(p_users, chr(10)), string_to_array(p_events, chr(10)), p_sequences, p_numbers,
                string_to_array(p_statuses, chr(10)), p_timestamps)
         as a (ticket_id, user_id, event_id, sequence, number, status, timestamp)
    cross join lateral (select * from tickets t where t.ticket_id = a.ticket_id offset 0) t
    where t.user_id = a.user_id and t.event_id = a.event_id and t.sequence = a.sequence and t.number = a.number
      and t.status = a.status and t.issued_at >= to_timestamp(a.timestamp::double precision / 1000)
      and t.issued_at < to_timestamp((a.timestamp + 1)::double precision / 1000);
    get diagnostics v_kept = row_count;
    if v_kept < cardinality(p_ids) then
        raise no_data_found;
    end if;
    return true;
exception when unique_violation or no_data_found then
    return false;
end $$;
