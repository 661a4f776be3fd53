"""The pages say what is true: generated parts, commands, links and names."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from development import renew
from local_postgres.server import Server

from .conftest import PROJECT, clone

DOCS = PROJECT / "docs"
PAGES = sorted([*PROJECT.glob("*.md"), *DOCS.glob("*.md")])
RUN = ("README.md", "docs/runbook.md")  # pages whose commands are run


def of_each_page(pages=PAGES):
    return pytest.mark.parametrize("page", pages, ids=lambda p: str(p.relative_to(PROJECT)))


# Generated pages


def test_what_is_generated_is_renewed(unmigrated):
    texts = renew.generated(unmigrated.url)
    stale = [str(path.relative_to(PROJECT)) for path in texts if path.read_text() != texts[path]]
    assert not stale, "make renew"


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


@dataclass
class Block:
    """A fenced block: where it is, its language and text, and the comment before it."""

    line: int
    language: str
    text: str
    comment: str


def blocks(page: str) -> list[Block]:
    text = (PROJECT / page).read_text()
    found = []
    for match in re.finditer(r"(?:<!-- (.*?) -->\n)?^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        line = text[: match.start(2)].count("\n") + 1
        found.append(Block(line, match[2], match[3], match[1] or ""))
    return found


@pytest.fixture(scope="module")
def checkout(servers, tmp_path_factory):
    """A copy of the checkout, with a local server of its own that does not wait for the disk.

    It has the migration that README and runbook are about, and what it makes.
    """
    folder = tmp_path_factory.mktemp("checkout") / "property-v2"
    ignored = shutil.ignore_patterns("data", ".venv", ".git", "__pycache__", "backups", "tests")
    shutil.copytree(PROJECT, folder, ignore=ignored)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "locked").touch()
    (folder / ".venv" / "bin" / "activate").write_text(
        f'export PATH="{Path(sys.executable).parent}:$PATH"\n'
    )
    later = [p for p in folder.glob("migrations/*.sql") if not p.name.startswith("0001")]
    if later:
        for path in later:
            path.unlink()
        subprocess.run([sys.executable, "-m", "development.renew"], cwd=folder, check=True)
    server = Server(data=folder / "local_postgres" / "data")
    server.start({"fsync": "off"})
    yield folder
    server.stop("immediate")


@pytest.fixture
def services(servers, tmp_path):
    """Databases of the services that the pages name: the environment, and the last of them."""
    file = tmp_path / "pg_service.conf"
    programs = Path(servers[0].program("psql")).parent
    with ExitStack() as stack:
        for name in ("staging", "demo", "production"):
            database = stack.enter_context(clone(servers[0], "unmigrated"))
            database.execute(renew.USERS)
            where = f"host={database.host}\ndbname={database.name}\n"
            with file.open("a") as services:
                services.write(f"[bestays_{name}]\n{where}user=bestays\n")
                services.write(f"[superuser_{name}]\n{where}user=postgres\n")
        path = f"{programs}:{os.environ['PATH']}"
        yield database.env(PGSERVICEFILE=str(file), PATH=path), database


@pytest.mark.parametrize("page", RUN)
def test_commands_of_a_page_run_in_its_order(page, checkout, services):
    environment, production = services
    output = ""
    for block in blocks(page):
        if block.comment.startswith("not run: "):
            continue
        if block.comment == "with rows":
            production.execute(renew.ROWS)
        if block.comment == "output":  # of the commands before it
            missing = [line for line in shape(block.text) if line not in shape(output)]
            assert not missing, f"{page}:{block.line}: not printed: {missing}\n{output}"
        elif block.language in ("sh", "sql"):
            command = ["bash", "-euo", "pipefail", "-c", ". .venv/bin/activate\n" + block.text]
            if block.language == "sql":
                command = [
                    production.server.program("psql"), "-X", "-v", "ON_ERROR_STOP=1",
                    "service=bestays_production", "-f", "-",
                ]  # fmt: skip
            done = subprocess.run(
                command, cwd=checkout, env=environment, input=block.text, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            output = done.stdout
            assert done.returncode == 0, f"{page}:{block.line} fails:\n{block.text}{output}"
    assert output


def shape(text: str) -> list[str]:
    """The lines without what differs from run to run: numbers, sizes, times."""
    return [re.sub(r"[ \d.,:-]+", " ", line).strip() for line in text.splitlines()]


def test_what_is_not_run_says_why():
    for page in RUN:
        for block in blocks(page):
            assert block.language, f"{page}:{block.line} has no language"
            if block.comment.startswith("not run"):
                assert re.fullmatch(r"not run: \w.{9,}", block.comment), f"{page}:{block.line}"


def text_without_comments(page: Path) -> str:
    return re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.S)


@of_each_page([*PAGES, PROJECT / ".github" / "workflows" / "test.yml"])
def test_every_make_target_exists(page):
    makefile = (PROJECT / "Makefile").read_text()
    verbs = set(re.findall(r"call verb,([\w-]+),", makefile))
    targets = verbs | set(re.findall(r"(?m)^([\w-]+):(?!=)", makefile))
    call = r"(?:^|`|&& |run: )make((?: [a-z][\w-]*)+)(?=$|`|  | [A-Z#&|])"
    calls = re.findall(call, text_without_comments(page), re.M)
    for target in " ".join(calls).split():
        known = target in targets or any(target.startswith(f"{verb}-") for verb in verbs)
        assert known, f"make {target} in {page.name} is no target"


def test_every_python_command_exists():
    commands = {
        command
        for page in PAGES
        for command in re.findall(
            r"python -m ((?:validation|operations|local_postgres|benchmark)(?: [a-z][a-z-]+)?)",
            text_without_comments(page),
        )
    }
    assert commands
    running = {
        command: subprocess.Popen(
            [sys.executable, "-m", *command.split(), "--help"], cwd=PROJECT,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for command in commands
        if command != "local_postgres psql"  # psql takes --help
    }  # fmt: skip
    failed = {c: p.communicate()[1] for c, p in running.items() if p.wait() or p.stderr.closed}
    assert not failed


# Links, paths and names


def slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text())
    return {slug(heading) for heading in re.findall(r"(?m)^#+ (.*)", text)}


@of_each_page()
def test_every_link_resolves(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", text_without_comments(page)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} in {page.name}"
        if anchor:
            assert anchor in anchors(target), f"{link} in {page.name}"


FOLDERS = "benchmark|development|docs|local_postgres|migrations|operations|queries|tests|validation"
MADE_HERE = ("local_postgres/data", "migrations/0002")  # by commands that the pages name


@of_each_page()
def test_every_path_exists(page):
    paths = re.findall(rf"(?<![\w/.])((?:{FOLDERS})/[\w./*-]*\w)", text_without_comments(page))
    for path in paths:
        if not path.startswith(MADE_HERE) and "<" not in path:
            assert list(PROJECT.glob(path)), f"{path} in {page.name}"


@of_each_page()
def test_every_test_named_exists(page):
    for name, function in re.findall(r"tests/(\w+\.py)::(\w+)", page.read_text()):
        tree = ast.parse((PROJECT / "tests" / name).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in functions, f"tests/{name}::{function} in {page.name}"


def test_the_runbook_knows_every_state_and_every_error():
    runbook = (DOCS / "runbook.md").read_text()
    source = (PROJECT / "validation" / "state.py").read_text()
    verdicts = re.findall(r'(?m)^[A-Z_]+ = "([a-z ]+)"$', source)
    faults = re.findall(r'found = f"([a-z ]+):', source)
    assert len(verdicts) == 8 and len(faults) == 2
    others = ("kept tables", "held by process", "relation .* already exists")
    for said in (*verdicts, *faults, *others):
        assert re.search(rf"\| .*{said}.* \|", runbook), f"{said} is not in docs/runbook.md"


def test_the_checklist_names_every_check(servers):
    checklist = (DOCS / "runbook.md").read_text().partition("## Checklist")[2].partition("\n## ")[0]
    named = {name for cell in re.findall(r"\| ([^|]*) \|$", checklist, re.M)
             for name in re.findall(r"`([^`]+)`", cell)}  # fmt: skip
    with clone(servers[0], "unmigrated") as database:
        results = json.loads(database.validation("check", "--format", "json").stdout)
    checks = {r["check"] for r in results["results"] if r["found"] != "not applied"}
    assert named - {"make check"} == checks


def test_the_readme_finds_every_page():
    readme = (PROJECT / "README.md").read_text()
    for page in PAGES:
        name = page.relative_to(PROJECT)
        found = page.name == "README.md" or f"]({name})" in readme
        assert found, f"README.md has no link to {name}"
