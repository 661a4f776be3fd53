"""What a new clone needs: a lock that fits pyproject.toml, the same ends of lines everywhere."""

from __future__ import annotations

import re
import subprocess
import sys

from packaging.requirements import Requirement

from .conftest import PROJECT

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


def test_a_clone_has_the_same_files_whatever_git_does_with_ends_of_lines(tmp_path):
    def git(*arguments: str) -> None:
        command = ["git", "-c", "core.autocrlf=true", "-c", "core.safecrlf=false", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)

    names = (".gitattributes", "migrations/SHA256SUMS", "migrations/0001_property_v2.sql")
    git("init")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    git("add", ".")
    for name in names:
        (tmp_path / name).unlink()
    git("checkout", "--", ".")
    for name in names:
        assert (tmp_path / name).read_bytes() == (PROJECT / name).read_bytes(), name
