"""The text of docs/benchmark.md."""

import os
import platform
import re
import textwrap
from itertools import product
from pathlib import Path

from .commands import BARE
from .waits import ARRIVALS, HOLDS, WAYS


def table(head: list[str], rows: list[list]) -> str:
    """A Markdown table; all columns but the first are numbers, aligned to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [head, rule, *rows])


def paragraph(text: str) -> str:
    """A paragraph or item of a list in lines of at most 100 characters."""
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, 100, subsequent_indent=indent, break_on_hyphens=False)


def machine(version: int) -> str:
    """Cores, memory CPU and system of this machine, and the settings of PostgreSQL."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        cpu = re.search(r"model name\s*: (.*)", text)[1]
    except (OSError, TypeError):
        cpu = platform.processor() or platform.machine()
    return paragraph(
        f"Machine: {os.cpu_count()} cores of {cpu}, {memory:.0f} GB of memory,"
        f" {platform.system()}. PostgreSQL {version} over a Unix socket, with the settings that it"
        " comes with (fsync on, shared_buffers 128 MB) but for max_connections = 600."
    )


def page(n: int, version: int, result: dict) -> str:
    """The text of docs/benchmark.md."""
    times, transfer, queries, sizes = (result[k] for k in ("times", "transfer", "queries", "sizes"))
    waits = {(m["way"], m["hold"], m["is_patient"]): m for m in result["waits"]}
    way_head = [
        "Way, transaction",
        "Times shorter",
        "Longest wait",
        "Plain",
        "Migration itself",
        "Plain",
    ]
    blocked = []
    for way, hold in product(WAYS, HOLDS):
        plain, patient = waits[way, hold, False], waits[way, hold, True]
        blocked.append(
            [
                f"{way}, {hold} s", f"{plain['longest'] / patient['longest']:.0f}",
                f"{patient['longest']:.2f} s", f"{plain['longest']:.2f} s",
                f"{patient['seconds']:.2f} s", f"{plain['seconds']:.2f} s",
            ]
        )  # fmt: skip
    longest = {p: max(m["longest"] for k, m in waits.items() if k[2] == p) for p in (True, False)}
    slower = {way: times[f"yoyo {way}"] / times[f"psql {way}"] for way in WAYS}
    commands = [
        [way, f"{slower[way]:.1f}", f"{1000 * times[f'yoyo {way}']:.0f} ms",
         f"{1000 * times[f'psql {way}']:.0f} ms"]
        for way in WAYS
    ]  # fmt: skip
    asked, shares = [], []
    for name, query in queries[n].items():
        p95s = [rows[name]["p95"] for rows in queries.values()]
        share, limit = "–", query["limit"]
        if limit and query["p95"]:
            shares.append((query["p95"] / limit, name))
            share = f"{100 * query['p95'] / limit:.0f} %"
        asked.append(
            [name, share, f"{limit:.0f} ms" if limit else "–"]
            + ["–" if p95 is None else f"{p95:.1f} ms" for p95 in p95s]
        )
    ratio = {ours: transfer[ours] / transfer[bare] for ours, bare in BARE.items() if bare}
    moved = [
        [
            f"{ours} beside {bare}",
            f"{ratio[ours]:.2f}",
            f"{transfer[ours]:.1f} s",
            f"{transfer[bare]:.1f} s",
        ]
        if bare
        else [ours, "–", f"{transfer[ours]:.1f} s", "–"]
        for ours, bare in BARE.items()
    ]
    total = sum(row.get("total_bytes", 0) for row in sizes.values())
    parts = ("total_bytes", "rows_bytes", "toast_bytes", "indexes_bytes")
    stored = [
        [name, f"{100 * row['total_bytes'] / total:.0f} %"]
        + [f"{(row[part] or 0) / n:,.0f}" for part in parts]
        for name, row in sizes.items()
        if row.get("total_bytes", 0) > total / 100
    ]
    indexes = [
        [name, f"{100 * row['size_bytes'] / total:.1f} %", f"{row['size_bytes'] / n:,.0f}"]
        for name, row in sorted(sizes.items(), key=lambda item: -item[1].get("size_bytes", 0))
        if row.get("size_bytes", 0) > total / 1000
    ]
    worst, query = max(shares)
    in_short = "\n".join(
        paragraph(f"- {text}")
        for text in (
            f"While a transaction of {max(HOLDS)} s holds `users`, no other session waited longer"
            f" than {longest[True]:.2f} s for the migration or its rollback; with the same DDL"
            f" without patience, {longest[False]:.1f} s.",
            f"`yoyo apply` takes {slower['apply']:.1f} times as long as `psql -1` of the same file:"
            f" {times['yoyo apply']:.2f} s.",
            f"At {n:,} properties the reference query nearest to its limit, {query}, takes"
            f" {100 * worst:.0f} % of it.",
            f"An export takes {ratio['export-data']:.2f} times as long as bare `pg_dump`, an import"
            f" {ratio['import-data']:.2f} times as long as bare `pg_restore`.",
        )
    )
    return f"""# Benchmark

All numbers are from one run of `make benchmark N={n}`, which writes this page.

{in_short}

{machine(version)}

## Waits of other sessions

The picture of them is in the [review sheet](locks.md). A new request comes every {ARRIVALS} s:
during apply one that writes `users`, beside a transaction that wrote another row; during rollback
one that reads `users`, beside a transaction that read it. Plain is the same file with the statement
alone in place of the block around it; both by `psql -1`.

{table(way_head, blocked)}

## yoyo beside psql

The median of seven runs each. The difference is the start of Python, and yoyo's own tables.

{table(["", "Times as long", "yoyo", "psql -1"], commands)}

## Reference queries

`python -m validation queries` on the sample data, warm: the 95th percentile of up to twenty runs,
and its share of the limit at {n:,} properties.

{table(["Query", "Share", "Limit", *(f"{size:,}" for size in queries)], asked)}

## Export, import and rollback

{n:,} properties with their translations: `make export-data` beside `pg_dump -Fd -j2` of the six
tables, and `make import-data` into the empty tables beside `pg_restore -j2`, which makes them anew.
Then the way out and back of tables that are kept with their rows, for which no program has a like:
`make rollback`, which also counts the rows, `yoyo apply`, and the file of `make restore-kept`.

{table(["", "Times as long", "Command", "Bare"], moved)}

## Sizes

`python -m validation monitor` on the sample data, without embeddings: {total / n:,.0f} bytes per
property in all. Bytes per property, by table:

{table(["Table", "Share", "In all", "Rows", "TOAST", "Indexes"], stored)}

and by index:

{table(["Index", "Share", "Bytes"], indexes)}
"""
