"""The pages say what is true: generated parts, commands, links, names and numbers."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from development import renew
from local_postgres.server import Server
from validation import expectation

from .conftest import PROJECT, clone, copy_of_the_project, ended, well
from .conftest import newest as server  # noqa: F401
from .forks import Fork
from .test_queries import BOUNDS

DOCS = PROJECT / "docs"
PAGES = sorted([*PROJECT.glob("*.md"), *DOCS.glob("*.md")])
RUN = ("README.md", "docs/runbook.md", "CONTRIBUTING.md")  # pages whose commands are run


def test_what_is_generated_is_renewed(unmigrated):
    texts = renew.generated(unmigrated.url)
    assert not [path for path in texts if path.read_text() != texts[path]], "make renew"


def test_schema_page_misses_no_table_column_or_word(migrated):
    migrated.execute(
        "CREATE TABLE strangers (id integer); ALTER TABLE policies ADD COLUMN colour text;"
        "CREATE INDEX idx_new ON users (full_name); CREATE INDEX idx_x ON policies (colour);"
        "ALTER TABLE amenities ADD CONSTRAINT even CHECK (sort_order % 2 = 0), DROP COLUMN icon;"
        "DROP INDEX idx_properties_type"
    )
    ((page, faults),) = migrated.execute((DOCS / "schema.sql").read_text())
    assert sorted(faults.split(", ")) == [
        "no words for .colour", "no words for strangers", "words for no amenities.icon",
        "words for no idx_properties_type",
    ]  # fmt: skip
    for line in ("## strangers", "| `even` | `CHECK (", "| `idx_x` | `btree (colour)`"):
        assert f"\n{line}" in page


# Commands


def blocks(page: str) -> Iterator[tuple[str, str, str, str]]:
    """The fenced blocks of a page: where it is, the comment before it, its language, its text."""
    text = (PROJECT / page).read_text()
    for match in re.finditer(r"(?:<!-- (.*?) -->\n)?^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        line = text[: match.start(2)].count("\n") + 1
        yield f"{page}:{line}", match[1] or "", match[2], match[3]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout with a local server, and the migration that the pages are about."""
    folder = copy_of_the_project(tmp_path_factory.mktemp("checkout") / "property-v2", "tests")
    server = Server(data=folder / "local_postgres" / "data")
    server.start({"fsync": "off"})
    yield folder
    server.stop("immediate")


@pytest.fixture
def services(servers, tmp_path):
    """Databases of the services that the pages name: the environment, and the last of them."""
    file = tmp_path / "pg_service.conf"
    path = f"{Path(servers[0].program('psql')).parent}:{os.environ['PATH']}"
    with ExitStack() as stack:
        for name in ("staging", "demo", "production"):
            database = stack.enter_context(clone(servers[0], "unmigrated"))
            database.execute(renew.USERS)
            where = f"host={database.host}\ndbname={database.name}\n"
            with file.open("a") as services:
                services.write(f"[bestays_{name}]\n{where}user=bestays\n")
                services.write(f"[superuser_{name}]\n{where}user=postgres\n")
        yield database.env(PGSERVICEFILE=str(file), PATH=path), database


@pytest.mark.parametrize("page", RUN)
def test_commands_of_a_page_run_in_its_order(page, checkout, services):
    environment, production = services
    psql = "psql -X -v ON_ERROR_STOP=1 service=bestays_production -f -"
    output = ""
    for where, comment, language, text in blocks(page):
        if comment.startswith("not run"):
            assert re.fullmatch(r"not run: \w.{9,}", comment), f"{where} does not say why"
            continue
        if comment == "applied":
            well(production.yoyo("apply", "-r", "0001_property_v2"))
        if comment == "with rows":
            production.execute(renew.ROWS)
        if comment == "output":  # of the commands before it
            missing = [line for line in shape(text) if line not in shape(output)]
            assert not missing, f"{where}: not printed: {missing}\n{output}"
        elif language in ("sh", "sql"):
            command = ["bash", "-euo", "pipefail", "-c", text if language == "sh" else psql]
            done = subprocess.run(
                command, cwd=checkout, env=environment, input=text, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
            )  # fmt: skip
            output = done.stdout
            assert done.returncode == 0, f"{where} fails:\n{text}{output}"
        else:
            assert language, f"{where} has no language"


def shape(text: str) -> list[str]:
    """The lines without what differs from run to run: times, sizes, process ids; counts stay."""
    varying = r"\d[\d.,]*(?= (?:ms|s|[kMG]?B)\b)|\d+\.\d+"
    return [" ".join(re.sub(varying, "0", line).split()) for line in text.splitlines()]


def text_without_comments(page: Path) -> str:
    return re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.S)


def test_every_command_exists():
    targets = r"(?:^|`|&& |run: )make((?: [a-z][\w-]*)+)(?=$|`|  | [A-Z#&|])"
    modules = r"python -m ((?:validation|operations|local_postgres|benchmark)(?: [a-z][a-z-]+)?)"
    pages = [*PAGES, PROJECT / ".github" / "workflows" / "test.yml"]
    said = "\n".join(map(text_without_comments, pages))
    called = {target for found in re.findall(targets, said, re.M) for target in found.split()}
    subprocess.run(["make", "-n", *called], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    for command in sorted(set(re.findall(modules, said))):
        help_of_it = ("python", "-m", *command.split(), "--help")
        well(ended(Fork(help_of_it, dict(os.environ), PROJECT)))


# Links, paths and names


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text())
    headings = re.findall(r"(?m)^#+ (.*)", text.lower())
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_every_link_path_and_test_is_there_and_the_readme_links_to_every_page(page):
    readme, text = PROJECT / "README.md", text_without_comments(page)
    assert page == readme or f"]({page.relative_to(PROJECT)})" in readme.read_text()
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not re.match(r"\w+:", link):
            assert target.exists(), f"{link} in {page.name}"
            assert not anchor or anchor in anchors(target), f"{link} in {page.name}"
    folders = "|".join(p.name for p in PROJECT.iterdir() if p.is_dir() and p.name[0] != ".")
    made_here = ("local_postgres/data", "migrations/0002", "backups/")  # by commands of the pages
    for path in re.findall(rf"(?<![\w/.])((?:{folders})/[\w./*-]*\w)", text):
        if not path.startswith(made_here) and "<" not in path:
            assert list(PROJECT.glob(path)), f"{path} in {page.name}"
    for name, function in re.findall(r"tests/(\w+\.py)::(\w+)", page.read_text()):
        defined = re.findall(r"(?m)^def (\w+)", (PROJECT / "tests" / name).read_text())
        assert function in defined, f"tests/{name}::{function} in {page.name}"


# What the runbook lists, and numbers


def test_the_runbook_knows_every_state_and_every_error():
    runbook = (DOCS / "runbook.md").read_text()
    source = (PROJECT / "validation" / "state.py").read_text()
    states = re.findall(r'(?m)(?:^[A-Z_]+ = |found = f)"([a-z ]+)[":]', source)
    assert len(states) >= 10
    scripts = [*PROJECT.glob("migrations/0001*.sql"), *PROJECT.glob("operations/*.sql")]
    raised = re.findall(r"RAISE EXCEPTION '([^']*)'", "".join(p.read_text() for p in scripts))
    errors = {" ".join(message.replace("%", "…").split()[:4]) for message in raised}
    others = ("kept tables", "held by process", "relation .* already exists")
    for said in (*states, *others, *map(re.escape, errors)):
        assert re.search(rf"\| .*{said}.* \|", runbook), f"{said} is not in docs/runbook.md"


def test_the_checklist_names_every_check(unmigrated):
    checklist = (DOCS / "runbook.md").read_text().partition("## Checklist")[2].partition("\n## ")[0]
    named = {name for cell in re.findall(r"\| ([^|]*) \|$", checklist, re.M)
             for name in re.findall(r"`([^`]+)`", cell)}  # fmt: skip
    checks = {r["check"] for r in unmigrated.look("check")[1] if r["found"] != "not applied"}
    assert named - {"make check"} == checks


def test_counts_are_those_of_the_schema(unmigrated):
    counted = expectation.query(
        "SELECT kind, count(*), count(*) FILTER (WHERE name LIKE 'idx_%')"
        " FROM expected WHERE migration = '0001_property_v2' GROUP BY kind"
    )
    counts = {kind: {all_of_them, some} for kind, all_of_them, some in unmigrated.execute(counted)}
    for page in ("docs/locks.md", "docs/specification.md", "migrations/0001_property_v2.sql"):
        text = (PROJECT / page).read_text().partition("## Departures")[0]
        found = re.findall(rf"(?<![\w,.])(\d+) ({'|'.join(counts)})(?:es|s)?\b", text)
        assert found, page
        for number, kind in found:
            assert int(number) in counts[kind], f"{number} {kind} in {page}"


def test_numbers_are_those_of_the_run_that_is_named():
    pages = {page.stem: " ".join(page.read_text().split()) for page in PAGES}
    assert "make benchmark N=1000000`" in pages["benchmark"], "others speak of a million"
    [size] = re.findall(r"([\d,]+) bytes per property in all", pages["benchmark"])
    assert f"{int(size.replace(',', '')) / 1000:.1f} kB for a property" in pages["scaling"]
    row = r"\| (\w+port)-data beside \w+ \| [\d.]+ \| ([\d.]+)"
    took = {name: float(seconds) for name, seconds in re.findall(row, pages["benchmark"])}
    assert "{import:.0f} s, where the export took {export:.0f} s".format(**took) in pages["runbook"]
    *some, last = sorted(BOUNDS)
    assert f"for {', '.join(some)} and {last} so only with" in pages["queries"]
