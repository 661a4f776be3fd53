-- The strongest lock that this session holds on each relation, and what other sessions cannot do
-- meanwhile. The dry run reads it after every statement. Source:
-- https://www.postgresql.org/docs/current/explicit-locking.html
WITH modes (strength, name, words, blocks) AS (
    VALUES
    (1, 'AccessShareLock', 'ACCESS SHARE', 'DROP, TRUNCATE and most of ALTER TABLE'),
    (2, 'RowShareLock', 'ROW SHARE', 'DROP, TRUNCATE and most of ALTER TABLE'),
    (3, 'RowExclusiveLock', 'ROW EXCLUSIVE', 'CREATE INDEX, CREATE TRIGGER and other DDL'),
    (4, 'ShareUpdateExclusiveLock', 'SHARE UPDATE EXCLUSIVE', 'VACUUM, ANALYZE and DDL'),
    (5, 'ShareLock', 'SHARE', 'writes, VACUUM and DDL; reads go on'),
    (6, 'ShareRowExclusiveLock', 'SHARE ROW EXCLUSIVE', 'writes, VACUUM and DDL; reads go on'),
    (7, 'ExclusiveLock', 'EXCLUSIVE', 'everything but plain reads'),
    (8, 'AccessExclusiveLock', 'ACCESS EXCLUSIVE', 'everything, reads too')
)

SELECT DISTINCT ON (l.relation)
    l.relation,
    m.strength,
    m.words,
    m.blocks,
    c.relfilenode
FROM pg_locks AS l
INNER JOIN modes AS m ON l.mode = m.name
LEFT JOIN pg_class AS c ON l.relation = c.oid
WHERE l.pid = pg_backend_pid() AND l.granted AND l.locktype = 'relation'
ORDER BY l.relation ASC, m.strength DESC;
