-- The tickets of a user, in no order. By user there are two indexes, each of some states: a look into either.
--
-- Inlined into what asks, so that its conditions and its limit are known to the plan.
create or replace function tickets_of(p_user text) returns setof tickets
language sql stable parallel safe as $$
    select * from tickets t where t.user_id = p_user and t.status in ('pending', 'confirmed')
    union all
    select * from tickets t where t.user_id = p_user and t.status in ('cancelled', 'expired')
$$;
