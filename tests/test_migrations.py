"""Rules that hold for every migration in the folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from yoyo.migrations import read_sql_migration

from .conftest import MIGRATIONS

FILES = sorted(MIGRATIONS.glob("*.sql"))

NOT_CODE = re.compile(r"--[^\n]*|'(?:[^']|'')*'|(\$\w*\$).*?\1", re.DOTALL)


def statements(path: Path) -> list[str]:
    """The statements as yoyo would send them."""
    return read_sql_migration(str(path))[2]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_pairs(path):
    if path.name.endswith(".rollback.sql"):
        assert path.with_name(path.name.replace(".rollback", "")) in FILES
    else:
        assert path.with_suffix(".rollback.sql") in FILES


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_yoyo_splits_it_into_the_statements_that_it_contains(path):
    """sqlparse splits; counted here are the semicolons outside of quotes and comments."""
    split = statements(path)
    assert len(split) == NOT_CODE.sub("", path.read_text()).count(";")
    for statement in split:
        assert statement.rstrip().endswith(";")
        assert re.match(r"[A-Z]+ ", re.sub(r"(?m)^\s*(--.*)?\n", "", statement))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_it_is_plain_ascii(path):
    """yoyo reads it once in the locale's encoding."""
    assert path.read_text().isascii()
