"""The test of the checks: every object altered in every way that matters must be noticed.

Each mutation is made in a transaction of its own and undone; where no DDL leads there (a column of
a key that may be null, an index left invalid), a superuser writes the catalog.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from validation import expectation

from .conftest import PROJECT

CHECKS = sorted((PROJECT / "validation" / "validate").glob("*.sql"))

OTHER_TYPE = {  # by type: another one, and a default that the column does not have
    "character varying": ("varchar(77)", "'x'"),
    "text": ("varchar(9)", "'x'"),
    "integer": ("bigint", "7"),
    "bigint": ("numeric", "7"),
    "boolean": ("text", "NULL IS NULL"),
    "timestamp with time zone": ("timestamp", "'epoch'"),
    "uuid": ("text", "'00000000-0000-0000-0000-000000000000'"),
    "jsonb": ("json", """'{"x": 1}'"""),
    "jsonb[]": ("json[]", "'{null}'"),
    "text[]": ("varchar[]", "'{x}'"),
    "vector": ("vector(3)", None),
}


def mutations(connection: psycopg.Connection) -> Iterator[tuple[str, list[str]]]:
    """Names of mutations, each with statements of which the first that is possible makes it."""
    ours = expectation.tables()
    query = connection.execute
    first = dict(query(
        "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attnum = 1"
        " AND attrelid = ANY(%s::regclass[])", [ours],
    ))  # fmt: skip
    for table in ours:
        yield f"drop table {table}", [f"DROP TABLE {table} CASCADE"]
        yield f"rename table {table}", [f"ALTER TABLE {table} RENAME TO x"]
        yield (
            f"unlogged {table}",
            [
                f"ALTER TABLE {table} SET UNLOGGED",
                f"UPDATE pg_class SET relpersistence = 'u' WHERE oid = '{table}'::regclass",
            ],
        )
        yield f"row security on {table}", [f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"]
        yield f"owner of {table}", [f"CREATE ROLE x; ALTER TABLE {table} OWNER TO x"]
        yield f"rule on {table}", [f"CREATE RULE x AS ON DELETE TO {table} DO INSTEAD NOTHING"]
        yield f"heir of {table}", [f"CREATE TABLE x () INHERITS ({table})"]
        yield (
            f"partition {table}",
            [f"UPDATE pg_class SET relkind = 'f' WHERE oid = '{table}'::regclass"],
        )
        yield f"column on {table}", [f"ALTER TABLE {table} ADD COLUMN x integer"]
        yield (
            f"generated column on {table}",
            [f"ALTER TABLE {table} ADD COLUMN x integer GENERATED ALWAYS AS (1) STORED"],
        )
        yield f"check on {table}", [f"ALTER TABLE {table} ADD CONSTRAINT x CHECK (true)"]
        yield (
            f"unique on {table}",
            [f"ALTER TABLE {table} ADD CONSTRAINT x UNIQUE ({first[table]})"],
        )
        yield (
            f"foreign key on {table}",
            [f"ALTER TABLE {table} ADD COLUMN x integer REFERENCES users (id)"],
        )
        yield f"index on {table}", [f"CREATE INDEX x ON {table} ({first[table]})"]
        yield (
            f"trigger on {table}",
            [
                f"CREATE TRIGGER x BEFORE INSERT ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()"
            ],
        )
        yield f"comment on {table}", [f"COMMENT ON TABLE {table} IS 'x'"]

    for table, column, kind, whole, not_null, default, movable in query(
        "SELECT c.relname, a.attname, format_type(a.atttypid, NULL),"
        " format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef,"
        # Only its place changes when it is made anew: nothing depends on it, and it is not last.
        " NOT a.attnotnull AND NOT a.atthasdef AND a.attnum < c.relnatts AND NOT EXISTS ("
        "SELECT FROM pg_depend WHERE refobjid = a.attrelid AND refobjsubid = a.attnum)"
        " FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
        " WHERE c.relkind = 'r' AND c.relname = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped",
        [ours],
    ).fetchall():
        name, alter = f"{table}.{column}", f"ALTER TABLE {table} ALTER COLUMN {column}"
        catalog = f"WHERE attrelid = '{table}'::regclass AND attname = '{column}'"
        other, value = OTHER_TYPE.get(kind, ("point", None))
        yield f"drop {name}", [f"ALTER TABLE {table} DROP COLUMN {column} CASCADE"]
        yield f"rename {name}", [f"ALTER TABLE {table} RENAME COLUMN {column} TO x"]
        yield (
            f"type of {name}",
            [
                f"{alter} DROP DEFAULT, ALTER COLUMN {column} TYPE {other}",
                f"UPDATE pg_attribute SET atttypid = 'point'::regtype, atttypmod = -1 {catalog}",
            ],
        )
        if kind in ("character varying", "vector"):
            yield (
                f"length of {name}",
                [f"UPDATE pg_attribute SET atttypmod = atttypmod + 1 {catalog}"],
            )
        if kind in ("character varying", "text"):
            yield (
                f"collation of {name}",
                [f"UPDATE pg_attribute SET attcollation = '\"C\"'::regcollation {catalog}"],
            )
        yield (
            f"null of {name}",
            [
                f"{alter} {'DROP' if not_null else 'SET'} NOT NULL",
                f"UPDATE pg_attribute SET attnotnull = false {catalog}",
            ],
        )
        if default:
            yield f"no default of {name}", [f"{alter} DROP DEFAULT"]
        if value:
            yield f"default of {name}", [f"{alter} SET DEFAULT {value}"]
        if movable:
            yield (
                f"place of {name}",
                [f"ALTER TABLE {table} DROP COLUMN {column}, ADD COLUMN {column} {whole}"],
            )
        yield f"comment on {name}", [f"COMMENT ON COLUMN {name} IS 'x'"]

    for table, name, kind, definition in query(
        "SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid)"
        " FROM pg_constraint WHERE conrelid::regclass::text = ANY(%s) AND contype <> 'n'",
        [ours],
    ).fetchall():
        drop = f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE"
        again = f"{drop}; ALTER TABLE {table} ADD CONSTRAINT {name}"
        yield f"drop {name}", [drop]
        yield f"rename {name}", [f"ALTER TABLE {table} RENAME CONSTRAINT {name} TO x"]
        if kind == "c":
            rule = definition.removesuffix(" NOT VALID")
            yield (
                f"validity of {name}",
                [
                    f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
                    if " NOT VALID" in definition
                    else f"{again} {definition} NOT VALID"
                ],
            )
            yield f"no inherit {name}", [f"{again} {rule} NO INHERIT"]
            yield f"weaker {name}", [f"{again} {rule[:-1]} OR true)"]
            yield f"stricter {name}", [f"{again} {rule[:-1]} AND {first[table]} IS NOT NULL)"]
            values = definition.replace("'th", "'xx").replace("'r", "'s").replace("'i", "'j")
            if values != definition:
                yield f"values of {name}", [f"{again} {values}"]
        if kind == "f":
            columns, _, action = definition.partition(" ON DELETE ")
            for other in ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT"):
                if other != action:
                    yield f"on delete {other} {name}", [f"{again} {columns} ON DELETE {other}"]
            yield f"on update {name}", [f"{again} {definition} ON UPDATE CASCADE"]
            yield f"not valid {name}", [f"{again} {definition} NOT VALID"]
            yield f"deferrable {name}", [f"{again} {definition} DEFERRABLE"]
            yield f"unenforced {name}", [f"ALTER TABLE {table} DISABLE TRIGGER ALL"]
        if kind == "u":
            yield f"deferrable {name}", [f"{again} {definition} DEFERRABLE"]
            yield (
                f"nulls of {name}",
                [f"{again} {definition.replace('E (', 'E NULLS NOT DISTINCT (')}"],
            )
            yield f"columns of {name}", [f"{again} {definition.replace(', locale', '')}"]
        if connection.info.server_version >= 180000 and kind in "cf":
            yield f"not enforced {name}", [f"{again} {definition} NOT ENFORCED"]

    for table, name, definition, of_constraint in query(
        "SELECT indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid),"
        " EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u'))"
        " FROM pg_index WHERE indrelid::regclass::text = ANY(%s)",
        [ours],
    ).fetchall():
        catalog = f"WHERE indexrelid = '{name}'::regclass"
        yield f"rename index {name}", [f"ALTER INDEX {name} RENAME TO x"]
        yield f"invalid {name}", [f"UPDATE pg_index SET indisvalid = false {catalog}"]
        yield f"not ready {name}", [f"UPDATE pg_index SET indisready = false {catalog}"]
        yield f"dying {name}", [f"UPDATE pg_index SET indislive = false {catalog}"]
        if of_constraint:
            continue
        again = f"DROP INDEX {name};"
        yield f"drop index {name}", [again]
        body, where, predicate = definition.partition(" WHERE ")
        more = f"({first[table]} IS NOT NULL)"
        if where:
            yield f"no predicate {name}", [f"{again} {body}"]
            yield f"predicate {name}", [f"{again} {definition} AND {more}"]
        else:
            yield f"predicate {name}", [f"{again} {definition} WHERE {more}"]
        if "hnsw" not in body:
            yield (
                f"include {name}",
                [
                    f"{again} {body.replace('gin', 'gist')} INCLUDE (id){where}{predicate}",
                    f"{again} {body.rsplit('(', 1)[0]}(tags, images){where}{predicate}",
                ],
            )
        yield (
            f"parameters {name}",
            [
                f"{again} {body} WITH ({parameter}){where}{predicate}"
                for parameter in ("fillfactor = 50", "fastupdate = off", "m = 8")
            ],
        )
        if "jsonb_path_ops" in body:
            yield f"class {name}", [f"{again} {body.replace('jsonb_path_ops', 'jsonb_ops')}"]
        if "vector_cosine_ops" in body:
            yield f"class {name}", [f"{again} {body.replace('cosine', 'l2')}"]
        if "btree" in body:
            columns = body.rsplit("(", 1)[1][:-1].split(", ")
            head = body.rsplit("(", 1)[0]
            turned = columns[0][:-5] if columns[0].endswith(" DESC") else columns[0] + " DESC"
            yield (
                f"order {name}",
                [f"{again} {head}({', '.join([turned, *columns[1:]])}){where}{predicate}"],
            )
            column, rest = columns[0].split()[0], f"{where}{predicate}"
            others = (
                f"{again} {head.replace('btree', m)}({first}){rest}" for m in ("brin", "hash")
            )
            yield f"class {name}", [f"{again} {head}({first} text_pattern_ops){rest}", *others]
            yield f"unique {name}", [f"{again} {definition.replace('INDEX', 'UNIQUE INDEX')}"]
            if len(columns) > 1:
                columns = ", ".join(reversed(columns))
                yield f"columns {name}", [f"{again} {head}({columns}){where}{predicate}"]

    for table, name, definition in query(
        "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger"
        " WHERE NOT tgisinternal AND tgrelid::regclass::text = ANY(%s)",
        [ours],
    ).fetchall():
        again = f"DROP TRIGGER {name} ON {table};"
        yield f"drop {name}", [again]
        yield f"rename {name}", [f"ALTER TRIGGER {name} ON {table} RENAME TO x"]
        for state in ("DISABLE", "ENABLE REPLICA", "ENABLE ALWAYS"):
            yield f"{state} {name}", [f"ALTER TABLE {table} {state} TRIGGER {name}"]
        yield f"after {name}", [again + definition.replace("BEFORE", "AFTER")]
        yield f"event of {name}", [again + definition.replace("UPDATE ON", "INSERT ON")]
        yield f"columns of {name}", [again + definition.replace("UPDATE ON", "UPDATE OF id ON")]
        yield f"never {name}", [again + definition.replace(" EXECUTE", " WHEN (false) EXECUTE")]
        yield (
            f"function of {name}",
            [
                "CREATE FUNCTION x() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
                + again
                + definition.replace("update_updated_at_column", "x")
            ],
        )

    function = "FUNCTION update_updated_at_column()"
    body = (
        f"CREATE OR REPLACE {function} RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN NEW.updated_at = {}; RETURN NEW; END$$"
    )
    yield "drop function", [f"DROP {function} CASCADE"]
    yield "rename function", [f"ALTER {function} RENAME TO x"]
    yield "body of function", [body.format("now()")]
    yield "body of function, to nothing", [body.format("NULL")]
    for attribute in ("SECURITY DEFINER", "IMMUTABLE", "STABLE", "SET search_path = ''"):
        yield f"{attribute} function", [f"ALTER {function} {attribute}"]
    yield "owner of function", [f"CREATE ROLE x; ALTER {function} OWNER TO x"]

    for (name,) in query(
        "SELECT objid::regclass::text FROM pg_depend JOIN pg_class ON pg_class.oid = objid"
        " WHERE relkind = 'S' AND deptype = 'a' AND refobjid = ANY(%s::regclass[])",
        [ours],
    ).fetchall():
        yield f"drop {name}", [f"DROP SEQUENCE {name} CASCADE"]
        for change in (
            "RENAME TO x", "OWNED BY NONE", "OWNED BY users.id", "AS bigint", "INCREMENT 2",
            "CYCLE", "CACHE 10", "MAXVALUE 1000", "MINVALUE -5", "START WITH 5 RESTART",
            "SET UNLOGGED",
        ):  # fmt: skip
            yield f"{change} {name}", [f"ALTER SEQUENCE {name} {change}"]

    for kind, name in query(
        "SELECT CASE WHEN objsubid = 0 THEN 'TABLE' ELSE 'COLUMN' END,"
        " concat_ws('.', objoid::regclass, attname) FROM pg_description"
        " LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid AND objsubid > 0"
        " WHERE classoid = 'pg_class'::regclass AND objoid::regclass::text = ANY(%s)",
        [ours],
    ).fetchall():
        yield f"no comment on {name}", [f"COMMENT ON {kind} {name} IS NULL"]


def is_noticed(connection: psycopg.Connection) -> bool:
    for path in CHECKS:
        cursor = connection.execute(path.read_text())
        while cursor.nextset():  # the rows are those of the last statement
            pass
        if any(status == "fail" for _, status, *_ in cursor):
            return True
    return False


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
    caught, slipped_past = 0, []
    with migrated.connect("postgres") as connection:
        assert not is_noticed(connection)
        for name, statements in list(mutations(connection)):
            with connection.transaction(force_rollback=True):
                make(connection, statements)
                if is_noticed(connection):
                    caught += 1
                else:
                    slipped_past.append(f"{name}: {statements}")
        assert not is_noticed(connection)
    print(f"{caught} mutations caught, {len(slipped_past)} missed")
    assert not slipped_past, "\n".join(slipped_past)
    assert caught >= 250


@pytest.mark.parametrize(
    ("mutation", "said"),
    [
        ("DROP INDEX idx_properties_tags", "CREATE INDEX CONCURRENTLY idx_properties_tags"),
        ("ALTER TABLE users ADD x integer", None),
        ("ALTER TABLE policies ADD x integer", "ALTER TABLE policies DROP COLUMN x"),
        ("ALTER TABLE amenities DROP CONSTRAINT amenities_pkey CASCADE", "ADD CONSTRAINT"),
        ("ALTER TABLE properties DISABLE TRIGGER USER", "ENABLE TRIGGER update_properties"),
    ],
)
def test_a_finding_says_how_to_mend_it(migrated, mutation, said):
    migrated.execute(mutation)
    done = migrated.validation("validate")
    assert done.returncode == (1 if said else 0), done.stdout
    assert (said or "") in done.stdout
