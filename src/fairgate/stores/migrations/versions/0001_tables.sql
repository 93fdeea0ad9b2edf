-- What must never be wrong. Lock order everywhere: leases, inventory (by event id), tallies (by event id), tickets.

create domain fairgate_id as text check (value ~ '^[A-Za-z0-9_.:@-]{1,64}$');

-- One number for every change of any line, so that a reader asks for "newer than what I know".
create sequence line_versions;

create table lines (
    event_id   fairgate_id primary key check (event_id not in ('join', 'position', 'leave')),
    version    bigint not null default nextval('line_versions') unique,
    generation integer not null default 0 check (generation between 0 and 8191),  -- 0: not yet prepared in Valkey
    shard      smallint not null,
    state      text not null default 'scheduled' check (state in ('scheduled', 'open', 'paused', 'closed')),
    title      text not null default '' check (length(title) <= 200),
    rate       double precision not null check (rate > 0 and rate <= 1000000),    -- admissions per second
    burst      integer not null check (burst between 1 and 1000000),
    hold_s     integer check (hold_s between 1 and 31536000),                     -- null: confirmed at issue
    opens_at   timestamptz,
    sold_out_by text check (sold_out_by in ('tickets', 'operator')),              -- null: somebody may wait for this
    created_at timestamptz not null default now()
);

create table inventory (
    event_id    fairgate_id primary key references lines,
    capacity    bigint check (capacity >= 0),                                     -- null: unlimited
    reserved    bigint not null default 0 check (reserved >= 0),                  -- live tickets and unsettled admissions
    next_number bigint not null default 1,                                        -- a number is never used twice
    tokens      double precision not null default 0,                              -- the rate's bucket at tokens_at
    tokens_at   timestamptz not null default clock_timestamp(),
    check (capacity is null or reserved <= capacity)                              -- I4: no oversell
) with (fillfactor = 50);

-- Apart from inventory, so that settling one batch never waits for admitting the next.
create table tallies (
    event_id  fairgate_id primary key references lines,
    issued    bigint not null default 0,
    confirmed bigint not null default 0,
    cancelled bigint not null default 0,
    expired   bigint not null default 0
) with (fillfactor = 50);

-- An admission is the right to a ticket, with its number. Never changed: the ticket of the same key settles it.
create table admissions (
    event_id    fairgate_id not null,
    number      bigint not null,
    user_id     fairgate_id not null,
    sequence    bigint not null,                                                  -- negative: no place, an operator's act
    source      text not null check (source in ('line', 'direct')),
    admitted_at timestamptz not null default clock_timestamp(),
    primary key (event_id, number),
    unique (event_id, user_id, sequence)
);

-- For the sweepers: by time, at almost no cost.
create index admissions_by_time on admissions using brin (admitted_at);

-- Who was told that the wait is over without a ticket.
create table departures (
    event_id fairgate_id not null,
    user_id  fairgate_id not null,
    sequence bigint not null,
    reason   text not null check (reason in ('sold_out', 'closed')),
    at       timestamptz not null default clock_timestamp(),
    primary key (event_id, user_id, sequence)
);

create table tickets (
    ticket_id  uuid primary key default uuidv7(),
    event_id   fairgate_id not null,
    user_id    fairgate_id not null,
    sequence   bigint not null,
    number     bigint not null,
    status     text not null check (status in ('pending', 'confirmed', 'cancelled', 'expired')),
    issued_at  timestamptz not null default clock_timestamp(),
    changed_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz,
    settled_by text not null,                                                     -- topic id-partition@offset, or 'api:…'
    unique (user_id, event_id, sequence)                                          -- an admission is settled once
);
create unique index one_live_ticket on tickets (event_id, user_id) where status in ('pending', 'confirmed');   -- I2
create index tickets_by_time on tickets using brin (issued_at);
create index tickets_to_expire on tickets (expires_at) where status = 'pending';

-- A row is a batch of messages of one topic, in order: `payload` has one JSON document a line. `key` is theirs together,
-- or `keys` has one each. `ids` names their message ids; null: `<id>.<index>`. Order per key is the order of `id`.
create table outbox (
    id         bigint generated always as identity primary key,
    shard      smallint not null,
    topic      text not null,
    key        text,
    keys       text[],
    ids        text[],
    payload    text not null,
    messages   integer not null check (messages > 0),
    created_at timestamptz not null default clock_timestamp(),
    sent_at    timestamptz,
    check ((key is null) <> (keys is null))
);
create index outbox_unsent on outbox (shard, id) where sent_at is null;
create index outbox_sent on outbox (sent_at) where sent_at is not null;

create table leases (
    name  text primary key,
    owner text not null,
    epoch bigint not null default 1,
    until timestamptz not null
) with (fillfactor = 50);

create table slots (
    role  text not null,
    slot  smallint not null,
    owner text not null,
    until timestamptz not null,
    primary key (role, slot)
) with (fillfactor = 50);

create table users (
    user_id     fairgate_id primary key,
    locale      text not null default 'en' check (locale in ('en', 'ko')),
    email       text check (length(email) <= 254),
    preferences jsonb not null default '{}',
    created_at  timestamptz not null default now()
);

create table revoked_sessions (
    hash  text primary key,
    at    timestamptz not null default clock_timestamp(),
    until timestamptz not null
);
create index revoked_sessions_at on revoked_sessions (at);

-- The generation of the session store: it grows when Valkey was found empty.
create table session_store (
    one        boolean primary key default true check (one),
    generation integer not null default 0
);
insert into session_store default values;

-- The inbox: what a user was or will be told. `tx` and `seq` give an order in which nothing appears late.
create table notifications (
    user_id    fairgate_id not null,
    id         text not null check (length(id) between 1 and 128),
    kind       text not null,
    payload    jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    seen_at    timestamptz,
    tx         xid8 not null default pg_current_xact_id(),
    seq        bigint generated always as identity,
    primary key (user_id, id)
);

-- For the sweep of what connected users have not seen.
create index notifications_unseen on notifications (tx) where seen_at is null;

create table idempotency_keys (
    key_hash    text primary key,
    fingerprint text not null,
    ticket_id   uuid not null,
    created_at  timestamptz not null default now()
);

-- The lobby is a line like any other.
insert into lines (event_id, shard, state, title, rate, burst) values ('lobby', 3, 'open', 'Lobby', 100, 100);
insert into inventory (event_id, tokens) values ('lobby', 100);
insert into tallies (event_id) values ('lobby');
