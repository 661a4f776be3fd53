# Comfort only: `yoyo apply` and `yoyo rollback` are safe without it.

PYTHON   ?= python3
POSTGRES ?= 18

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup start migrate rollback psql stop test lint checksums clean

in_venv := . .venv/bin/activate &&

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/locked ## .venv with the locked versions

.venv/locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or later is needed: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "Installing the locked versions into .venv (once) ..."
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install -qq --disable-pip-version-check \
		--require-hashes -r requirements.lock
	@touch $@

start: setup ## the local server (POSTGRES=16 for the older one)
	@$(in_venv) python -m local_postgres start $(POSTGRES)

migrate: start ## start, check, apply and validate on the local server
	@echo && echo "Before the migration" && $(in_venv) python -m validation pre-migration
	@echo && echo "yoyo apply" && $(in_venv) yoyo apply --batch && yoyo list --batch
	@echo && echo "After the migration" && $(in_venv) python -m validation post-migration

rollback: start ## take the last migration back, on the local server
	@$(in_venv) yoyo rollback --batch && yoyo list --batch

psql: start ## the local database in psql
	@$(in_venv) python -m local_postgres psql

stop: ## stop the local server
	@[ ! -d .venv ] || { $(in_venv) python -m local_postgres stop; }

lint: setup ## sqlfluff and squawk
	@$(in_venv) sqlfluff lint --disable-progress-bar . && squawk migrations/*.sql

test: lint ## lint, then all tests
	@$(in_venv) pytest

checksums: ## renew migrations/SHA256SUMS after writing a migration
	@cd migrations && { sha256sum *.sql || shasum -a 256 *.sql; } > SHA256SUMS 2> /dev/null

clean: stop ## remove the local server, its data and .venv
	@rm -rf local_postgres/data .venv
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
