-- The session in which the checks after the migration run: they judge the schema, not what role,
-- database, shell or server prefer. All that a user may set is as PostgreSQL brings it, so that no
-- setting can be forgotten here. Limits, names and search_path stay: the application's triggers may
-- need theirs. The other commands meet what a migration would meet.
SELECT set_config(s.name, s.boot_val, FALSE)
FROM pg_settings AS s
WHERE
    s.context = 'user'
    AND s.setting <> s.boot_val
    AND s.name NOT IN ('application_name', 'client_encoding', 'search_path')
    AND s.name !~ '^tcp_|^transaction_|_timeout$'
UNION ALL
-- The owner of the tables, where this session took on another role than one that may use them
SELECT set_config('role', pg_get_userbyid(c.relowner), FALSE)
FROM pg_class AS c
WHERE
    c.oid = to_regclass('public.properties')
    AND NOT pg_has_role(c.relowner, 'USAGE')
    AND pg_has_role(session_user, c.relowner, 'SET');
