-- The shop's own issue (POST /tickets/issue), without Kafka on the way in.

-- One row: outcome `created` (made now), `existing` (the live ticket, or the one this key made), `key_reused` (the key
-- came with another payload), `sold_out` (no ticket remains); the last two without ticket columns. Those are values and
-- no errors, because a crowd meets them by the thousand and an error is a line in the server's log. The ticket is
-- announced through the outbox in the same transaction.
--   p_shard        shard of the user id: announcements of one user stay in order
--   p_key_hash     hash of caller and Idempotency-Key, or null;  p_fingerprint  hash of what it was first sent with
-- Raises FG002 where there is no such line.
create or replace function issue_direct(p_event text, p_user text, p_shard integer, p_key_hash text, p_fingerprint text)
returns table (outcome text, ticket_id uuid, event_id text, user_id text, sequence bigint, number bigint, status text,
               issued_at timestamptz, expires_at timestamptz)
language plpgsql as $$
declare
    v_key idempotency_keys;
    v_direct record;
    v_ticket tickets;
begin
    if p_key_hash is not null then
        -- Before every other lock: two requests with one key, also for different events, come one after the other.
        perform pg_advisory_xact_lock(hashtextextended(p_key_hash, 0));
        select * into v_key from idempotency_keys k where k.key_hash = p_key_hash;
        if found and v_key.fingerprint <> p_fingerprint then
            outcome := 'key_reused';
            return next;
            return;
        end if;
    end if;

    if v_key.key_hash is not null then
        outcome := 'existing';
        select * into v_ticket from tickets t where t.ticket_id = v_key.ticket_id;
    else
        select * into v_direct from direct_ticket(p_event, p_user);
        outcome := v_direct.outcome;
        v_ticket := v_direct.ticket;
        if outcome = 'sold_out' then
            return next;
            return;
        end if;
        if p_key_hash is not null then
            insert into idempotency_keys (key_hash, fingerprint, ticket_id)
            values (p_key_hash, p_fingerprint, v_ticket.ticket_id);
        end if;
        if outcome = 'created' then
            perform announce_ticket(v_ticket, p_shard);
        end if;
    end if;
    return query select outcome, v_ticket.ticket_id, v_ticket.event_id::text, v_ticket.user_id::text, v_ticket.sequence,
                        v_ticket.number, v_ticket.status, v_ticket.issued_at, v_ticket.expires_at;
end $$;


-- The user's live ticket, else a ticket for the admission that waits for one, else a new admission (source `direct`,
-- a negative sequence: it had no place in the line) with its ticket; or `sold_out`.
create or replace function direct_ticket(p_event text, p_user text)
returns table (outcome text, ticket tickets)
language plpgsql as $$
declare
    v_inventory inventory;
    v_admission admissions;
    v_hold_s integer;
begin
    -- A first look without locks, so that who has a ticket, and the crowd at what is sold out, wait for nobody and
    -- write nothing. The second look, under the locks in their order, decides.
    for v_look in 1 .. 2 loop
        if v_look = 1 then
            select * into v_inventory from inventory i where i.event_id = p_event;
        else
            select * into v_inventory from inventory i where i.event_id = p_event for update;
            perform from tallies y where y.event_id = p_event for update;
        end if;
        if v_inventory.event_id is null then
            raise exception 'there is no line for %', p_event using errcode = 'FG002';
        end if;

        -- In this order: an admission that is settled between the two is found as a ticket.
        select * into v_admission from admissions d
        where d.event_id = p_event and d.user_id = p_user
          and not exists (select from tickets t where t.event_id = d.event_id and t.number = d.number)
        order by d.sequence limit 1;
        return query select 'existing', t from tickets t
                     where t.event_id = p_event and t.user_id = p_user and t.status in ('pending', 'confirmed');
        if found then
            return;
        end if;
        if v_admission.event_id is null and v_inventory.reserved >= v_inventory.capacity then
            return query select 'sold_out', null::tickets;
            return;
        end if;
    end loop;

    if v_admission.event_id is null then
        update inventory i set reserved = i.reserved + 1, next_number = i.next_number + 1 where i.event_id = p_event;
        insert into admissions (event_id, number, user_id, sequence, source)
        values (p_event, v_inventory.next_number, p_user, -v_inventory.next_number, 'direct')
        returning * into v_admission;
    end if;

    select l.hold_s into v_hold_s from lines l where l.event_id = p_event;
    update tallies y set issued = y.issued + 1, confirmed = y.confirmed + (v_hold_s is null)::integer
    where y.event_id = p_event;
    return query
    with made as (
        insert into tickets (event_id, user_id, sequence, number, status, expires_at, settled_by)
        values (p_event, p_user, v_admission.sequence, v_admission.number,
                case when v_hold_s is null then 'confirmed' else 'pending' end,
                clock_timestamp() + make_interval(secs => v_hold_s), 'api')
        returning *
    )
    select 'created', row(made.*)::tickets from made;
end $$;


-- An outbox row for topic `ticket-issued` with the message `TicketIssued` (domain/messages.py): the ticket as it was at
-- the issue, in the very bytes that ticketing announces it with, so that the second of two is a repeat and nothing else.
create or replace function announce_ticket(p_ticket tickets, p_shard integer)
returns void language plpgsql as $$
begin
    insert into outbox (shard, topic, keys, ids, payload, messages)
    values (p_shard, 'ticket-issued', array[p_ticket.user_id::text], array['issued:' || p_ticket.ticket_id],
            (select row_to_json(fact)::text from (select
                p_ticket.user_id as "userId", p_ticket.ticket_id as "ticketId", p_ticket.event_id as "eventId",
                p_ticket.number as number, p_ticket.sequence as sequence,
                case when p_ticket.expires_at is null then 'confirmed' else 'pending' end as status,
                epoch_millis(p_ticket.issued_at) as timestamp, epoch_millis(p_ticket.expires_at) as "expiresAt") fact),
            1);
    perform pg_notify('fairgate_outbox', p_shard::text);
end $$;


create or replace function epoch_millis(p_at timestamptz) returns bigint
language sql immutable strict parallel safe as $$ select floor(extract(epoch from p_at) * 1000)::bigint $$;
