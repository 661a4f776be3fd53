-- The relations of this database, and the file of each: what a dry run compares the locks with, to
-- show those on what was there before. Indexes are locked with their tables, and say nothing more.
SELECT
    oid,
    oid::regclass::text AS relation,
    relfilenode
FROM pg_class
WHERE relkind NOT IN ('i', 'I', 't') AND relnamespace <> 'pg_catalog'::regnamespace;
