-- name: take_lease$
-- A free, expired or already own lease; the epoch grows at every taking. Null when somebody else holds it.
insert into leases (name, owner, until)
values (:name, :owner, clock_timestamp() + make_interval(secs => :seconds))
on conflict (name) do update
    set owner = excluded.owner, epoch = leases.epoch + 1, until = excluded.until
    where leases.until < clock_timestamp() or leases.owner = excluded.owner
returning epoch;

-- name: renew_leases
-- The names that are still ours, with the deadline moved.
update leases l set until = clock_timestamp() + make_interval(secs => :seconds)
from unnest(:names::text[], :epochs::bigint[]) as mine (name, epoch)
where l.name = mine.name and l.epoch = mine.epoch and l.owner = :owner
returning l.name;

-- name: give_back_leases!
update leases set until = '-infinity' where name = any(:names::text[]) and owner = :owner;

-- name: take_slot$
-- The slot this owner had, else the lowest free one. Null when another process was faster: try again.
with own as (select slot from slots where role = :role and owner = :owner),
free as (
    select min(n)::smallint as slot from generate_series(0, 999) as n
    where not exists (select from slots s where s.role = :role and s.slot = n and s.until >= clock_timestamp())
)
insert into slots (role, slot, owner, until)
select :role, coalesce((select slot from own), (select slot from free)), :owner,
       clock_timestamp() + make_interval(secs => :seconds)
on conflict (role, slot) do update set owner = excluded.owner, until = excluded.until
    where slots.until < clock_timestamp() or slots.owner = excluded.owner
returning slot;

-- name: renew_slot$
update slots set until = clock_timestamp() + make_interval(secs => :seconds)
where role = :role and slot = :slot and owner = :owner
returning slot;

-- name: give_back_slot!
update slots set until = '-infinity' where role = :role and slot = :slot and owner = :owner;

-- name: live_slots$
-- Processes of a role that were heard of within `silence_s`. A slot is held for longer than that: as a name, not as a
-- claim to a share of the work.
select count(*) from slots
where role = :role and until >= clock_timestamp() + make_interval(secs => cast(:hold_s as double precision) - :silence_s);
