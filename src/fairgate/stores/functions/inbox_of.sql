-- The inbox of a user, in no order: messages by their user, tickets by the tickets of the user that were told of.
--
-- Inlined into what asks, so that its conditions and its limit are known to the plan.
create or replace function inbox_of(p_user text) returns setof inbox
language sql stable parallel safe as $$
    select n.user_id, n.id, n.kind, n.payload, n.created_at, n.seen_at, n.tx, n.seq
    from notifications n where n.user_id = p_user
    union all
    select k.user_id, 'issued:' || k.ticket_id, 'ticket:issued', null, k.created_at, k.seen_at, k.tx, k.seq
    from tickets_of(p_user) t
    cross join lateral (select * from tickets_told k where k.ticket_id = t.ticket_id offset 0) k
$$;
