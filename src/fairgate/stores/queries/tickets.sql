-- name: settle
select * from settle(:events::text[], :users::text[], :sequences::bigint[], :numbers::bigint[], :sources::text[]);

-- name: settle_all
select * from settle_all(
    :ids::uuid[], :events::text[], :which::integer[], :users, :sequences::bigint[], :numbers::bigint[], :sources
);

-- name: release_admission!
select release_admission(:event_id, :user_id, :sequence, :source);

-- name: issue_direct^
select * from issue_direct(:event_id, :user_id, :shard, :key_hash, :fingerprint);

-- name: move_tickets
select * from move_tickets(:ids::uuid[], :owners::text[], :allowed::text[], :status);

-- name: overdue_tickets
select overdue_tickets(:limit, :silence_s) as ticket_id;

-- name: ticket^
select ticket_id, event_id, user_id, sequence, number, status, issued_at, expires_at from tickets
where ticket_id = :ticket_id and (:owner::text is null or user_id = :owner::text);

-- name: tickets_of
-- Newest first.
select ticket_id, event_id, user_id, sequence, number, status, issued_at, expires_at
from tickets_of(:user_id) order by issued_at desc limit :limit;

-- name: forget_idempotency_keys!
delete from idempotency_keys where created_at < now() - make_interval(secs => :seconds);
