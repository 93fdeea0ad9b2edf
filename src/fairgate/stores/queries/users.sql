-- name: user_by_id^
select user_id, locale, email, preferences from users where user_id = :user_id;

-- name: put_user!
insert into users (user_id, locale, email, preferences)
values (:user_id, :locale, :email, :preferences::text::jsonb)
on conflict (user_id) do update
    set locale = excluded.locale, email = excluded.email, preferences = excluded.preferences;
