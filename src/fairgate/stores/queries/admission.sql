-- name: admit
select * from admit(:leases::text[], :epochs::bigint[], :events::text[], :users::text[], :sequences::bigint[]);

-- name: admit_crowd$
select admit_crowd(:lease, :epoch, :event_id, :users, :sequences::bigint[]);

-- name: depart
select * from depart(:lease, :epoch, :shard, :event_id, :users::text[], :sequences::bigint[], :reason, :title, :body);

-- name: stocks
-- What bounds admission, for these lines. Tokens are as of now.
select i.event_id, i.capacity, i.reserved, i.next_number - 1 as admitted, t.issued, t.confirmed,
       bucket(i, l, clock_timestamp()) as tokens
from inventory i join tallies t using (event_id) join lines l using (event_id)
where i.event_id = any(:events::text[]);

-- name: mark_sold_out!
-- All tickets are final: nobody waits for what is sold out.
update lines l set sold_out_by = 'tickets', version = nextval('line_versions')
from inventory i, tallies t
where l.event_id = :event_id and i.event_id = l.event_id and t.event_id = l.event_id and l.sold_out_by is null
  and i.capacity is not null and t.confirmed >= i.capacity;

-- name: reopen_line$
-- A ticket came back, or the capacity grew: somebody may wait again. What the operator said stays.
update lines l set sold_out_by = null, version = nextval('line_versions')
from inventory i
where l.event_id = :event_id and i.event_id = l.event_id and l.sold_out_by = 'tickets'
  and (i.capacity is null or i.reserved < i.capacity)
returning l.event_id;
