"""The test of the comparison: every object altered in every way that matters must be noticed.

Each mutation is made in a transaction of its own and undone. What is one fact in the catalog, a
superuser writes there: it also reaches where no DDL leads (a key that may be null, an index left
invalid).
"""

import re
from collections.abc import Iterator

import psycopg
from psycopg.rows import dict_row

from validation import expectation

from .conftest import clone

# What there is, in the words that the statements below are made of
CATALOG = r"""
WITH tables AS (
    SELECT t AS id, t::text AS "table", a.attname AS first
    FROM unnest(current_setting('mutations.tables')::regclass[]) AS t
    INNER JOIN pg_attribute AS a ON t = a.attrelid AND a.attnum = 1
), columns AS (
    SELECT t."table", attname AS "column", format_type(atttypid, atttypmod) AS whole, kind,
        atthasdef, format('attrelid = %s AND attnum = %s', id::oid, attnum) AS it,
        -- Only its place changes when it is made anew: nothing depends on it, and it is not last.
        NOT attnotnull AND NOT atthasdef AND NOT EXISTS (
            SELECT FROM pg_depend WHERE refobjid = id AND refobjsubid = attnum
        ) AND attnum < (SELECT relnatts FROM pg_class AS c WHERE c.oid = id) AS is_movable
    FROM tables AS t
    INNER JOIN pg_attribute ON id = attrelid AND attnum > 0 AND NOT attisdropped
    CROSS JOIN format_type(atttypid, NULL) AS kind
), constraints AS (
    SELECT c.oid, t."table", first, conname AS name, contype AS kind, definition, confdeltype,
        format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE; ALTER TABLE %1$s ADD CONSTRAINT %2$I',
            t."table", conname) AS again,
        regexp_replace(definition, '\)( NOT VALID)?$', '') AS opened
    FROM tables AS t
    INNER JOIN pg_constraint AS c ON id = conrelid AND contype <> 'n'
    CROSS JOIN pg_get_constraintdef(c.oid) AS definition
), indexes AS (
    SELECT first, name, definition, body, head, columns,
        format('DROP INDEX %I;', name) AS again, substr(definition, length(body) + 1) AS rest,
        EXISTS (
            SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u')
        ) AS is_constraint
    FROM tables
    INNER JOIN pg_index ON id = indrelid
    CROSS JOIN concat(indexrelid::regclass) AS name
    CROSS JOIN pg_get_indexdef(indexrelid) AS definition
    CROSS JOIN split_part(definition, ' WHERE ', 1) AS body
    CROSS JOIN regexp_replace(body, '\([^(]*\)$', '') AS head
    CROSS JOIN string_to_array(substr(rtrim(body, ')'), length(head) + 2), ', ') AS columns
), triggers AS (
    SELECT t."table", tgname AS name, definition,
        format('DROP TRIGGER %I ON %s;', tgname, t."table") AS again
    FROM tables AS t
    INNER JOIN pg_trigger AS g ON id = tgrelid AND NOT tgisinternal
    CROSS JOIN pg_get_triggerdef(g.oid) AS definition
), sequences AS (
    SELECT objid::regclass::text AS name FROM tables
    INNER JOIN pg_depend ON id = refobjid AND deptype = 'a'
    INNER JOIN pg_class ON objid = oid AND relkind = 'S'
), comments AS (
    SELECT CASE WHEN objsubid = 0 THEN 'TABLE' ELSE 'COLUMN' END AS kind,
        concat_ws('.', "table", attname) AS name
    FROM tables
    INNER JOIN pg_description ON id = objoid AND classoid = 'pg_class'::regclass
    LEFT JOIN pg_attribute ON id = attrelid AND attnum = objsubid AND objsubid > 0
)
"""
# For each of these objects one statement a line; after a bar, what is tried where it cannot be
MUTATIONS = """
FROM tables:
    DROP TABLE {table} CASCADE
    ALTER TABLE {table} RENAME TO x
    UPDATE pg_class SET relpersistence = 'u' WHERE oid = '{table}'::regclass
    ALTER TABLE {table} ENABLE ROW LEVEL SECURITY
    CREATE ROLE x; ALTER TABLE {table} OWNER TO x
    CREATE RULE x AS ON DELETE TO {table} DO INSTEAD NOTHING
    CREATE TABLE x () INHERITS ({table})
    UPDATE pg_class SET relkind = 'f' WHERE oid = '{table}'::regclass
    ALTER TABLE {table} ADD COLUMN x integer
    ALTER TABLE {table} ADD CONSTRAINT x CHECK (true)
    ALTER TABLE {table} ADD CONSTRAINT x UNIQUE ({first})
    CREATE INDEX x ON {table} ({first})
    CREATE TRIGGER x BEFORE INSERT ON {table}
        FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()
    COMMENT ON TABLE {table} IS 'x'
FROM columns:
    ALTER TABLE {table} DROP COLUMN {column} CASCADE
    ALTER TABLE {table} RENAME COLUMN {column} TO x
    ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT CAST(nullif('', '') AS {whole})
    UPDATE pg_attribute SET atttypid = 'point'::regtype, atttypmod = -1 WHERE {it}
    UPDATE pg_attribute SET attnotnull = NOT attnotnull WHERE {it}
    COMMENT ON COLUMN {table}.{column} IS 'x'
FROM columns WHERE kind IN ('character varying', 'vector'):
    UPDATE pg_attribute SET atttypmod = atttypmod + 1 WHERE {it}
FROM columns WHERE kind IN ('character varying', 'text'):
    UPDATE pg_attribute SET attcollation = '"C"'::regcollation WHERE {it}
FROM columns WHERE atthasdef:
    ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT
FROM columns WHERE is_movable:
    ALTER TABLE {table} DROP COLUMN {column}, ADD COLUMN {column} {whole}
FROM constraints:
    ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE
    ALTER TABLE {table} RENAME CONSTRAINT {name} TO x
FROM constraints WHERE kind = 'c':
    {again} {opened} OR true)
    {again} {opened} AND {first} IS NOT NULL)
FROM constraints, (VALUES
    ('c', 'connoinherit = true'), ('cf', 'convalidated = NOT convalidated'),
    ('f', 'confupdtype = ''c'''), ('fu', 'condeferrable = true')
) AS v (kinds, change) WHERE strpos(kinds, kind) > 0:
    UPDATE pg_constraint SET {change} WHERE oid = {oid}
FROM constraints, unnest(ARRAY['a', 'r', 'c', 'n', 'd']) AS action
WHERE kind = 'f' AND confdeltype <> action::"char":
    UPDATE pg_constraint SET confdeltype = '{action}' WHERE oid = {oid}
FROM constraints
WHERE kind IN ('c', 'f') AND current_setting('server_version_num') >= '180000':
    UPDATE pg_constraint SET conenforced = false WHERE oid = {oid}
FROM constraints, (VALUES ('th', 'xx'), ('r', 's'), ('i', 'j')) AS v (a, b),
    replace(definition, '''' || a, '''' || b) AS changed
WHERE kind = 'c' AND changed <> definition:
    {again} {changed}
FROM constraints WHERE kind = 'f':
    ALTER TABLE {table} DISABLE TRIGGER ALL
FROM constraints, (VALUES ('E (', 'E NULLS NOT DISTINCT ('), (', locale', '')) AS v (a, b),
    replace(definition, a, b) AS changed WHERE kind = 'u':
    {again} {changed}
FROM indexes:
    ALTER INDEX {name} RENAME TO x
    UPDATE pg_class SET reloptions = ARRAY['fillfactor=50'] WHERE oid = '{name}'::regclass
FROM indexes, unnest(ARRAY['indisvalid', 'indisready', 'indislive', 'indisunique']) AS fact:
    UPDATE pg_index SET {fact} = NOT {fact} WHERE indexrelid = '{name}'::regclass
FROM indexes WHERE NOT is_constraint:
    DROP INDEX {name}
FROM indexes WHERE NOT is_constraint AND rest = '':
    {again} {body} WHERE ({first} IS NOT NULL)
FROM indexes WHERE rest <> '':
    {again} {body}
    {again} {definition} AND ({first} IS NOT NULL)
FROM indexes, replace(body, 'gin', 'gist') AS gist
WHERE NOT is_constraint AND body NOT LIKE '%hnsw%':
    {again} {gist} INCLUDE (id){rest} | {again} {head}(tags, images){rest}
FROM indexes, (VALUES ('jsonb_path_ops', 'jsonb_ops'), ('cosine', 'l2')) AS v (a, b),
    replace(body, a, b) AS changed WHERE changed <> body:
    {again} {changed}{rest}
FROM indexes, split_part(columns[1], ' ', 1) AS one,
    replace(head, 'btree', 'brin') AS brin, replace(head, 'btree', 'hash') AS hash,
    regexp_replace(columns[1] || ' DESC', '( DESC){2}$', '') AS turned,
    array_to_string(turned || columns[2:], ', ') AS others
WHERE NOT is_constraint AND body LIKE '%btree%':
    {again} {head}({others}){rest}
    {again} {head}({one} text_pattern_ops){rest}
        | {again} {brin}({one}){rest} | {again} {hash}({one}){rest}
FROM indexes, LATERAL (
        SELECT string_agg(c, ', ' ORDER BY n DESC) FROM unnest(columns) WITH ORDINALITY AS u (c, n)
    ) AS v (backwards)
WHERE NOT is_constraint AND body LIKE '%btree%' AND cardinality(columns) > 1:
    {again} {head}({backwards}){rest}
FROM triggers, replace(definition, 'update_updated_at_column', 'x') AS changed:
    DROP TRIGGER {name} ON {table}
    ALTER TRIGGER {name} ON {table} RENAME TO x
    CREATE FUNCTION x() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        {again} {changed}
FROM triggers, unnest(ARRAY['DISABLE', 'ENABLE REPLICA', 'ENABLE ALWAYS']) AS state:
    ALTER TABLE {table} {state} TRIGGER {name}
FROM triggers, (VALUES ('BEFORE', 'AFTER'), ('UPDATE ON', 'INSERT ON'),
    ('UPDATE ON', 'UPDATE OF id ON'), (' EXECUTE', ' WHEN (false) EXECUTE')) AS v (a, b),
    replace(definition, a, b) AS changed:
    {again} {changed}
FROM unnest(ARRAY['now()', 'NULL']) AS value:
    CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN NEW.updated_at = {value}; RETURN NEW; END'
FROM concat('FUNCTION update_updated_at_column()') AS function:
    DROP {function} CASCADE
    ALTER {function} RENAME TO x
    ALTER {function} SECURITY DEFINER
    ALTER {function} IMMUTABLE
    ALTER {function} STABLE
    ALTER {function} SET search_path = ''
    CREATE ROLE x; ALTER {function} OWNER TO x
FROM sequences:
    DROP SEQUENCE {name} CASCADE
FROM sequences, unnest(ARRAY[
    'RENAME TO x', 'OWNED BY NONE', 'OWNED BY users.id', 'AS bigint', 'INCREMENT 2', 'CYCLE',
    'CACHE 10', 'MAXVALUE 1000', 'MINVALUE -5', 'START WITH 5 RESTART', 'SET UNLOGGED'
]) AS change:
    ALTER SEQUENCE {name} {change}
FROM comments:
    COMMENT ON {kind} {name} IS NULL
"""


def mutations(connection: psycopg.Connection) -> Iterator[list[str]]:
    """Statements of which the first that is possible makes the mutation."""
    tables = f"{{{','.join(expectation.tables())}}}"
    connection.execute("SELECT set_config('mutations.tables', %s, false)", [tables])
    cursor = connection.cursor(row_factory=dict_row)
    for section in re.split(r"\n(?=FROM)", MUTATIONS.strip()):
        objects, _, statements = section.partition(":\n")
        for row in cursor.execute(f"{CATALOG} SELECT * {objects}").fetchall():
            for alternatives in re.split(r"\n {4}(?! )", statements.strip()):
                yield [one.strip() for one in alternatives.format_map(row).split(" | ")]


def make(connection: psycopg.Connection, statements: list[str]) -> None:
    for statement in statements:
        try:
            with connection.transaction():
                connection.execute(statement)
            return
        except psycopg.Error as error:
            reason = error
    raise AssertionError(f"not possible: {statements}: {reason}")


def test_every_mutation_is_noticed(migrated):
    with migrated.connect("postgres", prepare_threshold=None) as connection:
        connection.execute(f"PREPARE comparison AS {expectation.FILE.read_text()}")

        def is_noticed(statements: list[str]) -> bool:
            with connection.transaction(force_rollback=True):
                make(connection, statements)
                found = connection.execute("EXECUTE comparison")
                return any(status == "fail" for _, status, *_ in found)

        assert not is_noticed(["SELECT"])
        tried = list(mutations(connection))
        missed = [str(statements) for statements in tried if not is_noticed(statements)]
        assert not is_noticed(["SELECT"])
    print(f"{len(tried)} mutations tried, {len(missed)} missed")
    assert not missed, "\n".join(missed)
    assert len(tried) >= 1000


def test_a_finding_says_how_to_mend_it(newest):
    with clone(newest, "migrated") as database:
        database.execute(
            "DROP INDEX idx_properties_tags; ALTER TABLE policies ADD x integer;"
            "ALTER TABLE users ADD x integer;"  # which is nobody's business
            "ALTER TABLE amenities DROP CONSTRAINT amenities_pkey CASCADE;"
            "ALTER TABLE properties DISABLE TRIGGER USER"
        )
        code, results = database.look("validate")
    ways_out = {r["what_to_do"] for r in results if r["status"] == "fail"}
    assert code == 1 and ways_out > {
        "CREATE INDEX CONCURRENTLY idx_properties_tags ON properties USING gin (tags);",
        "If nobody needs it: ALTER TABLE policies DROP COLUMN x;",
        "ALTER TABLE amenities ADD CONSTRAINT amenities_pkey PRIMARY KEY (id);",
        "ALTER TABLE properties ENABLE TRIGGER update_properties_updated_at;",
    }
    assert not any(r["found"].startswith("users") for r in results)
