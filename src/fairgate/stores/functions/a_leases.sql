-- Hold these leases until the transaction ends, or refuse. First in the lock order.
-- Errors: FG001 a lease has another owner, or its time is up.
create or replace function assert_leases(p_leases text[], p_epochs bigint[]) returns void
language plpgsql as $$
declare
    held integer;
begin
    select count(*) into held from (
        select from leases l join unnest(p_leases, p_epochs) as mine (name, epoch)
            on l.name = mine.name and l.epoch = mine.epoch and l.until > clock_timestamp()
        order by l.name for share of l
    ) locked;
    if held <> cardinality(p_leases) then
        raise exception 'a lease has another owner' using errcode = 'FG001';
    end if;
end
$$;
