-- Tell claims of one line that the wait is over without a ticket: departures and one outbox row, in one step.
--
-- p_reason   'sold_out' or 'closed'
-- p_kind, p_title, p_body   what the user reads
-- → one row per claim: outcome 'departed', 'admitted' or 'served' (as in admit: who has a right keeps it)
-- A repeat is harmless: a departure is written and told once.
-- Errors: FG001 the lease has another owner.
create or replace function depart(
    p_lease text, p_epoch bigint, p_shard integer, p_event text, p_users text[], p_sequences bigint[],
    p_reason text, p_title text, p_body text
) returns table (event_id text, user_id text, sequence bigint, outcome text, number bigint)
language plpgsql as $$
#variable_conflict use_column
begin
    perform assert_leases(array[p_lease], array[p_epoch]);
    perform from inventory i where i.event_id = p_event for update;
    return query
    with known as (
        select c.user_id, c.sequence,
            (select a.number from admissions a
              where a.event_id = p_event and a.user_id = c.user_id and a.sequence = c.sequence) as had,
            (select true from tickets t
              where t.event_id = p_event and t.user_id = c.user_id and t.status in ('pending', 'confirmed')) is not null as served
        from unnest(p_users, p_sequences) as c (user_id, sequence)
    ), gone as (
        insert into departures (event_id, user_id, sequence, reason)
        select p_event, k.user_id, k.sequence, p_reason from known k where k.had is null and not k.served
        on conflict (event_id, user_id, sequence) do update set reason = excluded.reason, at = excluded.at
            where departures.reason = 'left'  -- of a leave that was not answered: still here, and to be told
        returning *
    ), told as (
        insert into outbox (shard, topic, keys, ids, payload, messages)
        select p_shard, 'notification', array_agg(g.user_id::text order by g.sequence), array_agg(m.id order by g.sequence),
               string_agg(json_build_object('messageId', m.id, 'userId', g.user_id, 'kind', 'queue:' || p_reason,
                   'title', p_title, 'body', p_body,
                   'data', json_build_object('eventId', p_event, 'sequence', g.sequence),
                   'timestamp', (extract(epoch from g.at) * 1000)::bigint)::text, E'\n' order by g.sequence),
               count(*)
        from gone g
        cross join lateral (select md5(p_reason || ':' || p_event || ':' || g.user_id || ':' || g.sequence) as id) m
        having count(*) > 0
    )
    select p_event, k.user_id, k.sequence,
           case when k.had is not null then 'admitted' when k.served then 'served' else 'departed' end, k.had
    from known k;
end
$$;
