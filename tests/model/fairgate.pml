/*
 * From the join to the ticket: nobody lost, nobody twice, order kept, with a crash or a fail-over at every step.
 *
 *     join ─▶ line ──claim──▶ claims ──admit──▶ admissions + outbox ── and only then: clear      Owner
 *             outbox ──send──▶ log ── and only when acknowledged: mark                           Relay
 *             log ──settle──▶ tickets ── and only then, in one transaction: announced + offset    Ticketing
 *
 * Each stage is two processes. One has the lease (or the partition); the other may take it over at any moment, and the
 * first, frozen wherever it was, goes on later as if nothing had happened. Each may also crash before any of its steps:
 * it forgets what it had in hand and starts again. Valkey may fail over to a copy that stopped following it at any
 * moment: what was added since is gone, what was removed since is back. A send may fail while the next one would not.
 * All of that costs one of FAULTS, so a run ends; spin looks at every run there is.
 *
 * step here          code
 * Fans: join, leave  stores/scripts/join.lua, leave.lua
 * Owner: take        stores/queries/leases.sql (take_lease): the epoch grows at every taking
 * Owner: prepare     admission/owner.py → stores/scripts/prepare.lua
 * Owner: hold …      admission/recovery.py → hold.lua, next_generation in SQL, reading, restore.lua, reopen.lua
 * Owner: claim       admission/steps.py (3) → claim.lua
 * Owner: admit       admission/steps.py (4) → stores/functions/admit.sql
 * Owner: clear       admission/steps.py (5) → clear.lua
 * Relay              outbox/relay.py, stores/queries/outbox.sql (oldest_unsent, mark_sent)
 * Ticketing          ticketing/settle.py, stores/functions/settle.sql, streams/transaction.py
 *
 * What is taken as given: a script, and an SQL function, is one atomic step; what PostgreSQL has committed stays; Kafka
 * keeps what it has acknowledged, and its transaction is one step that is refused to who is not of the group's present
 * generation; the journal has every join and leave that was answered (`join_durability = journal`; without it, the
 * user's placeToken brings back what was lost, in the grace time before admission goes on).
 * What is left out: capacity, pace, the end of a hold (the state machine of tests/contract drives those on real
 * servers); several partitions and shards (they share nothing); time (a lease may end at any moment).
 *
 * Users are numbered as they joined: the number is the sequence. A set of users is a byte, one bit each.
 *
 * Promises: the assertions, and `Quiet`, which looks when nothing can happen any more. That every run comes so far is
 * spin's search for non-progress cycles: no label of this file says `progress`, so any cycle would be one.
 * FIRST_HALF ends at the outbox. SECOND_HALF begins there and takes from the first what it asserts: rows appear once
 * each, in order. Without either it is the whole flow. Halves are searched with more users and faults than the whole.
 * Each other `#ifdef` takes one step of the protocol away: tests/model/test_model.py shows that spin finds out.
 */

#ifndef USERS
#define USERS 2                  /* at most 3 */
#endif
#ifndef FAULTS
#define FAULTS 2
#endif
#define LEAVER 1                 /* who may change their mind */
#define BATCH 2                  /* how many are claimed, read, settled at once */
#define ROWS (USERS + 1)
#define RECORDS (USERS + BATCH * FAULTS)
#define NOBODY 255
#define ELSEWHERE USERS          /* the message of another line of the same shard */

#define EVERYBODY (bit(USERS) - 1)
#define bit(u) (1 << (u))
#define has(set, u) (((set) >> (u)) & 1)
#define lowest(set) (((set) & 1) -> 0 : (((set) & 2) -> 1 : (((set) & 4) -> 2 : 3)))
#define without_lowest(set) ((set) & ((set) - 1))

byte faults = FAULTS;
byte joined, left;               /* what was answered: the journal */

/* Valkey. `server` names it; the fence names the server that the line was prepared on, 0 none. */
byte line, claims, epoch, server = 1, fence = 1;
byte copied_line, copied_claims, copied_epoch, copied_fence;
bool following = true;

/* PostgreSQL */
byte lease_owner, lease_epoch, relay_owner;
byte admitted, reserved;         /* who, and how many reservations */
byte row[ROWS], rows;            /* outbox: whose message; `rows` identities are drawn */
byte committed, sent;            /* sets of rows, by identity */
byte ticket, settled_by[USERS];  /* who; the record that did it + 1 */

/* Kafka */
byte record[RECORDS], records, seen, seen_elsewhere;
byte member, generation, offset; /* of the group */
byte told;                       /* announcements that a read_committed reader sees */

/* The next step, or a crash before it. */
#define step if
#define or_crash :: d_step { faults > 0 -> faults-- }; goto born fi

/* ---- the crowd, and Valkey's own trouble */

#ifdef NO_FENCE
#define serving true
#else
#define serving (fence == server)
#endif

proctype Fans() {
	do
	:: d_step { joined != EVERYBODY && serving -> line = line | (joined + 1); joined = joined | (joined + 1) }
	:: joined == EVERYBODY -> break
	od
}

proctype Leaver() {
	if
	:: d_step { serving && has(line, LEAVER) -> line = line & ~bit(LEAVER); left = left | bit(LEAVER) }
	:: true                      /* stays */
	fi
}

proctype Failover() {
	if
	:: d_step { following && faults > 0 -> faults--; following = false;
		copied_line = line; copied_claims = claims; copied_epoch = epoch; copied_fence = fence }
	:: true -> goto stays
	fi;
	d_step { line = copied_line; claims = copied_claims; epoch = copied_epoch; fence = copied_fence; server++ };
stays:	skip
}

/* ---- the turn */

inline insert(u) {               /* an admission with its number, its reservation and its message */
#ifndef NO_ADMISSION_KEY
	if
	:: has(admitted, u) -> skip
	:: else ->
#endif
		assert((joined & ~left & ~admitted & (bit(u) - 1)) == 0);      /* I3: nobody is passed over */
		assert(!has(left, u));                                         /* I2: no ticket after a leave */
		assert(!has(admitted, u));
		admitted = admitted | bit(u); reserved++;
		row[rows] = u; committed = committed | bit(rows); rows++
#ifndef NO_ADMISSION_KEY
	fi
#endif
}

#ifdef NO_LEASE_CHECK
#define may_admit true
#else
#define may_admit (lease_owner == me && lease_epoch == mine)
#endif

inline write_rows() {            /* stores/functions/admit.sql */
	todo = hand;
	do
	:: todo -> u = lowest(todo); insert(u); todo = without_lowest(todo)
	:: else -> break
	od;
	u = 0
}

inline clear_claims() {          /* stores/scripts/clear.lua */
	d_step {
		if
		:: serving && epoch == mine -> claims = claims & ~hand
		:: else -> skip
		fi
	}
}

#ifdef NO_EPOCH_IN_VALKEY
#define may_restore true
#else
#define may_restore (epoch == mine && fence == 0)
#endif

proctype Owner(byte me) {
	byte mine, hand, todo, u;
born:
	atomic { mine = 0; hand = 0; todo = 0; u = 0 };
end:
	if
	:: d_step { mine == 0 && lease_owner == me -> lease_epoch++; mine = lease_epoch }
	:: d_step { mine == 0 && lease_owner != me && faults > 0 ->
		faults--; lease_owner = me; lease_epoch++; mine = lease_epoch }
	:: mine != 0 && lease_epoch != mine -> goto born                /* a renewal was refused */
	:: mine != 0 && mine == lease_epoch && (epoch != mine || !serving)
	:: mine != 0 && epoch == mine && serving && (line | claims) -> goto claim
	fi;

	step
	:: atomic { epoch > mine -> goto born }                         /* prepare: another owner's epoch */
	:: atomic { epoch <= mine && serving -> epoch = mine; goto end }
	:: d_step { epoch <= mine && !serving -> epoch = mine; fence = 0 }      /* hold: nobody joins, leaves, is claimed */
	or_crash;
	step
	:: lease_owner == me && lease_epoch == mine                     /* the next generation */
	:: lease_epoch != mine -> goto born
	or_crash;
	step
	:: todo = joined & ~left & ~admitted                            /* the journal - who left - admissions */
	or_crash;
	step
	:: d_step { may_restore ->
#ifndef NO_JOURNAL
		line = todo; claims = 0;
#endif
		todo = 0 }
	:: !may_restore -> goto born
	or_crash;
	step
	:: d_step { may_restore -> fence = server }                     /* reopen */
	:: !may_restore -> goto born
	or_crash;
	goto end;

claim:
	step
	:: atomic { !(serving && epoch == mine) -> goto end }           /* refused: see why */
	:: d_step { serving && epoch == mine ->
		do                                                      /* what was claimed before comes first */
		:: todo < BATCH && (claims & ~hand) -> hand = hand | bit(lowest(claims & ~hand)); todo++
		:: todo < BATCH && !(claims & ~hand) && line ->
			hand = hand | bit(lowest(line)); line = without_lowest(line); todo++
		:: else -> break
		od;
#ifndef POP_FIRST
		claims = claims | hand;
#endif
		todo = 0 }
	or_crash;
#ifdef CLEAR_FIRST
	step :: clear_claims() or_crash;
#endif
	step
	:: d_step { may_admit -> write_rows() }
	:: !may_admit -> goto born
	or_crash;
#ifndef CLEAR_FIRST
	step :: clear_claims() or_crash;
#endif
	hand = 0;
	goto end
}

/* Another line of the shard: its transaction draws an identity, and commits after rows with a later one. */
proctype OtherLine() {
	byte id;
	d_step { id = rows; rows++ };
	atomic { row[id] = ELSEWHERE; committed = committed | bit(id) }
}

/* ---- the relay */

#ifdef AFTER_THE_LAST
#define unsent (committed & ~sent & ~(bit(last) - 1))
#else
#define unsent (committed & ~sent)
#endif

inline append(id) {
	d_step {
		if
		:: row[id] == ELSEWHERE -> seen_elsewhere = 1
		:: else ->
			assert(has(seen, row[id]) || (admitted & ~seen & (bit(row[id]) - 1)) == 0);  /* the first of each, in order */
			seen = seen | bit(row[id]);
			assert(records < RECORDS);
			record[records] = row[id]; records++
		fi
	}
}

inline mark() {
	d_step {
		if :: !failed -> sent = sent | bit(a) :: else fi;
		if :: b != NOBODY -> sent = sent | bit(b) :: else fi
	}
}

proctype Relay(byte me) {
	byte a, b, last;
	bool failed;
born:
	atomic { a = NOBODY; b = NOBODY; failed = false; last = 0 };
end:
	do
	:: d_step { relay_owner != me && faults > 0 -> faults--; relay_owner = me }
	:: d_step { relay_owner == me && unsent ->
		a = lowest(unsent);
		b = (without_lowest(unsent) -> lowest(without_lowest(unsent)) : NOBODY) };
		break
	od;
#ifdef MARK_FIRST
	step :: mark() or_crash;
#endif
	step
	:: append(a)
#ifdef GOES_ON_AFTER_A_FAILURE
	:: d_step { faults > 0 -> faults--; failed = true }
#endif
	or_crash;                    /* a send that fails is no other: the producer is thrown away with all that it has in flight */
	step
	:: b != NOBODY -> append(b)
	:: b == NOBODY
	or_crash;
	step :: mark() or_crash;
	d_step {
#ifdef AFTER_THE_LAST
		last = (b != NOBODY -> b + 1 : a + 1);
#endif
		a = NOBODY; b = NOBODY; failed = false };
	goto end
}

/* ---- the ticket */

inline settle(i) {               /* stores/functions/settle.sql */
	u = record[i];
	assert(has(admitted, u));
	if
#ifdef NO_TICKET_KEY
	:: true ->
#else
	:: !has(ticket, u) ->
#endif
		assert(!has(ticket, u));                                        /* I2: one ticket */
		ticket = ticket | bit(u); settled_by[u] = i + 1; news = news | bit(u)
#ifndef NO_SOURCE
	:: has(ticket, u) && settled_by[u] == i + 1 -> news = news | bit(u)   /* a crash between SQL and Kafka: tell again */
#endif
	:: else -> skip                                                     /* a repeat: nothing */
	fi
}

#ifdef FRESH_METADATA
#define may_commit true
#else
#define may_commit (mine == generation)
#endif

proctype Ticketing(byte me) {
	byte from, to, mine, news, u;
born:
	atomic { from = 0; to = 0; mine = 0; news = 0; u = 0 };
end:
	do
	:: d_step { member != me && faults > 0 -> faults--; member = me; generation++ }
	:: d_step { member == me && offset < records ->
		from = offset; mine = generation;
		to = (records - offset > BATCH -> offset + BATCH : records) };
		break
	od;
#ifdef OFFSET_FIRST
	step
	:: d_step { may_commit -> offset = to }
	:: !may_commit -> goto born
	or_crash;
#endif
	step
	:: d_step {
		do
		:: from < to -> settle(from); from++
		:: else -> break
		od;
		from = 0; u = 0 }
	or_crash;
	step                         /* one transaction: the news and the offset */
	:: d_step { may_commit ->
		assert((told & news) == 0);                             /* I2: told once */
		told = told | news; offset = to }
	:: !may_commit
	or_crash;
	goto born
}

/* ---- one half at a time: the second sees of the first only that rows appear, once each and in order */

proctype Rows() {
	byte u;
	do
	:: u < USERS -> d_step { joined = joined | bit(u); insert(u); u++ }
	:: else -> break
	od
}

/* ---- when nothing can happen any more */

proctype Quiet() {
	byte u, tickets;
	timeout;
	atomic {
		assert(joined == EVERYBODY);
		assert(line == 0 && claims == 0);
#ifdef FIRST_HALF
		ticket = admitted;
#else
		assert(told == ticket);
#endif
		assert((ticket & left) == 0 && (ticket | left) == joined);      /* I1: nobody is lost */
		do
		:: u < USERS -> tickets = tickets + has(ticket, u); u++
		:: else -> break
		od;
#ifdef SECOND_HALF
		assert(seen_elsewhere);
#endif
		assert(reserved == tickets)                                     /* I10: the books balance */
	}
}

init {
	atomic {
#ifdef SECOND_HALF
		run Rows(); run OtherLine();
#else
		run Fans(); run Leaver(); run Failover(); run Owner(0); run Owner(1);
#endif
#ifndef FIRST_HALF
		run Relay(0); run Relay(1); run Ticketing(0); run Ticketing(1);
#endif
		run Quiet()
	}
}
