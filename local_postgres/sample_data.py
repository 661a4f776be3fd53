"""Fills the six tables with sample data by sample_data.sql."""

from __future__ import annotations

import sys
import time

import psycopg2

from validation.database import Unusable, connect

from .server import HERE

BATCH = 20_000  # keeps the server's queue of foreign-key checks small, and the progress alive


def load(url: str | None, properties: int, seed: int, with_embeddings: bool) -> None:
    """Replaces the rows of the six tables, all in one transaction, and says how many and how long.

    Args:
        url: as for `python -m validation -d`.
        properties: how many listings.
        seed: the same seed gives the same rows.
        with_embeddings: give every tenth listing an English embedding.

    Raises:
        Unusable: the database cannot be reached, or VACUUM failed afterwards.
        psycopg2.Error: it does not allow the loss of its rows, or lacks the tables; the rows are
            as they were.
    """
    began = time.monotonic()
    connection = connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('property_v2.seed', %s, false)", [str(seed)])
        cursor.execute((HERE / "sample_data.sql").read_text(encoding="utf-8"))
        for first in range(1, properties + 1, BATCH):
            last = min(first + BATCH - 1, properties)
            cursor.execute(
                "SELECT pg_temp.add_properties(%s, %s, %s)", [first, last, with_embeddings]
            )
            _progress(last, properties, time.monotonic() - began)
        cursor.execute("SELECT count(*) FROM property_translations")
        (translations,) = cursor.fetchone()
    connection.autocommit = True
    with connection.cursor() as cursor:
        try:
            cursor.execute(
                "VACUUM (ANALYZE) amenities, amenity_translations, policies, policy_translations,"
                " properties, property_translations"
            )
        except psycopg2.Error as error:
            reason = " ".join(str(error).split())
            raise Unusable(f"The rows are loaded; VACUUM ANALYZE failed: {reason}") from error
    connection.close()
    print(
        f"{properties:,} properties with {translations:,} translations, seed {seed},"
        f" in {time.monotonic() - began:.1f} s"
    )


def _progress(done: int, total: int, seconds: float) -> None:
    if not sys.stderr.isatty() or seconds < 2:
        return
    bar = "█" * (30 * done // total)
    left = f"{seconds / done * (total - done):.0f} s left" if done < total else "VACUUM ANALYZE"
    end = "" if done < total else "\n"
    print(f"\r\033[K{bar:<30} {done:,} of {total:,}, {left}", end=end, file=sys.stderr, flush=True)
