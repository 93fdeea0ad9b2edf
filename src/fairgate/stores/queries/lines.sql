-- name: lines_since
-- The next edge, and the lines that a transaction at or behind the last edge wrote; none: one row without a line. Before an
-- edge every transaction is over, so that none commits behind a reader's back. Edge '0': all lines.
with edge as (select pg_snapshot_xmin(pg_current_snapshot()) as tx)
select edge.tx::text as edge, l.*
from edge
left join lateral (
    select l.*, i.capacity from lines l
    cross join lateral (select i.capacity from inventory i where i.event_id = l.event_id offset 0) i
    where l.tx >= cast(cast(:edge as text) as xid8)
) l on true
order by l.version;

-- name: all_lines
select l.*, i.capacity from lines l join inventory i using (event_id) order by l.event_id;

-- name: line^
select l.*, i.capacity from lines l join inventory i using (event_id) where l.event_id = :event_id;

-- name: insert_line^
with line as (
    insert into lines (event_id, shard, state, title, rate, burst, hold_s, opens_at)
    values (:event_id, :shard, :state, :title, :rate, :burst, :hold_s, :opens_at)
    on conflict (event_id) do nothing
    returning event_id, burst
), stock as (
    insert into inventory (event_id, capacity, tokens)
    select event_id, cast(:capacity as bigint), burst from line
), tally as (
    insert into tallies (event_id) select event_id from line
)
select event_id from line;

-- name: change_line^
-- Null leaves a setting as it is. Unlimited capacity is -1, no hold time is 0.
with changed as (
    update lines set
        version = nextval('line_versions'),
        state = coalesce(:state, state),
        title = coalesce(:title, title),
        rate = coalesce(cast(:rate as double precision), rate),
        burst = coalesce(cast(:burst as integer), burst),
        hold_s = case when cast(:hold_s as integer) is null then hold_s else nullif(cast(:hold_s as integer), 0) end,
        opens_at = coalesce(cast(:opens_at as timestamptz), opens_at),
        sold_out_by = coalesce(cast(:sold_out_by as text), sold_out_by)
    where event_id = :event_id
    returning event_id
)
update inventory i set capacity =
    case when cast(:capacity as bigint) is null then i.capacity else nullif(cast(:capacity as bigint), -1) end
from changed where i.event_id = changed.event_id
returning i.event_id;

-- name: next_generation$
-- A new generation, by who holds the lease of the line's shard. Null when the lease or the line has moved on.
update lines set generation = generation + 1, version = nextval('line_versions')
where event_id = :event_id and generation = :generation
  and exists (select from leases where name = :lease and epoch = :epoch and until > clock_timestamp() for share)
returning generation;

-- name: tell_lines_changed!
select pg_notify('fairgate_lines', :event_id);

-- name: standings
-- What SQL knows of users in a line: a live ticket or an admission on its way first, else what came last. By user in
-- each table: the two kinds of statuses have an index each.
select distinct on (user_id) asked.user_id, known.status, known.sequence, known.ticket_id
from unnest(:users::text[]) as asked (user_id)
cross join lateral (
    select status, sequence, ticket_id::text, changed_at as at from tickets
    where user_id = asked.user_id and event_id = :event_id and status in ('pending', 'confirmed')
    union all
    select status, sequence, ticket_id::text, changed_at from tickets
    where user_id = asked.user_id and event_id = :event_id and status in ('cancelled', 'expired')
    union all
    select 'admitted', sequence, null, admitted_at from admissions a
    where event_id = :event_id and user_id = asked.user_id
      and (select true from tickets t where t.event_id = a.event_id and t.number = a.number) is null
    union all
    select reason, sequence, null, at from departures
    where event_id = :event_id and user_id = asked.user_id
) known
order by user_id, (status in ('pending', 'confirmed', 'admitted')) desc, at desc;
