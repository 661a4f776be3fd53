# Comfort only: `yoyo apply` and `yoyo rollback` are safe without it.

PYTHON ?= python3
N      ?= 10000
TABLE  ?= properties

MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help
targets := help setup start sample-data stop test lint new renew benchmark lock clean
.PHONY: $(targets)

in_venv := . .venv/bin/activate &&

help: ## this list
	@echo "On the local database, or as make VERB-staging on libpq's service bestays_staging:"
	@sed -n 's/^\$$(eval $$(call verb,\([a-z-]*\),[^,]*,\(.*\)))$$/\1 \2/p' $(MAKEFILE_LIST) | \
		while read -r verb text; do printf "  make %-12s %s\n" "$$verb" "$$text"; done
	@echo "Development:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# libpq's variables of a shell may be about another database, and would fill what a target leaves
# open: they do not reach the local one; where an environment is named, those of a place do not.
PLACE := PGSERVICE PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER
LIBPQ := $(strip $(foreach v,$(filter PG%,$(.VARIABLES)),$(if $(filter env% command,$(origin $v)),$v)))
locally := unset $(LIBPQ) PG;
define ignored
$(if $(LIBPQ),@echo "Not used for the local database: $(LIBPQ) of this shell;" \
	"make VERB-ENVIRONMENT names another." >&2)
endef

# VERB runs on the local database, VERB-ENVIRONMENT on the service bestays_ENVIRONMENT. With exec
# the program is make's own child, and ends when make is told to.
define verb
targets += $(1) $(1)-%
.PHONY: $(1)
$(1): start
	$$(ignored)
	@$$(locally) $$(in_venv) exec python -m $(2)
$(1)-%: setup
	@unset $(PLACE); $$(in_venv) exec python -m $(2) -d 'postgresql://?service=bestays_$$*'
endef
rollback_option := $(if $(ROLLBACK),--rollback)
export_option := $(if $(EXPORT),--from '$(EXPORT)')
yes_option := $(if $(YES),--yes)
backup_option := $(if $(filter no,$(BACKUP)),--no-backup)
explain_option := $(if $(EXPLAIN),--explain '$(EXPLAIN)')
$(eval $(call verb,check,validation check,may the migrations be applied?))
$(eval $(call verb,dry-run,validation dry-run $(rollback_option),rehearse the apply; with ROLLBACK=1 the rollback))
$(eval $(call verb,migrate,operations migrate $(backup_option),check; back up (not with BACKUP=no); rehearse; apply; validate))
$(eval $(call verb,validate,validation validate,is the schema what the specification says?))
$(eval $(call verb,state,validation state,where each migration stands and what is to do))
$(eval $(call verb,monitor,validation monitor,sizes; index use; slow statements; locks))
$(eval $(call verb,queries,validation queries $(explain_option),explain and time the reference queries; with EXPLAIN=FILE the plan of one))
$(eval $(call verb,psql,operations psql,the database in the psql of its server's version))
$(eval $(call verb,programs,operations programs,where psql and pg_restore of that version are))
$(eval $(call verb,backup-db,operations backup-db,a full dump to backups/))
$(eval $(call verb,export-data,operations export-data,the rows of the tables to backups/))
$(eval $(call verb,rollback,operations rollback,take the last migration back; tables with rows are kept))
$(eval $(call verb,restore-kept,operations restore-kept,the kept tables in the place of the new ones))
$(eval $(call verb,drop-kept,operations drop-kept $(yes_option),delete the kept tables for good; YES=1 does not ask))
$(eval $(call verb,import-data,operations import-data $(export_option),the newest export or EXPORT=FOLDER into the empty tables))

# make migrate staging would migrate the local database, and then find no target staging.
unknown := $(strip $(filter-out $(targets) .venv/locked,$(MAKECMDGOALS)) $(filter %-,$(MAKECMDGOALS)))
$(if $(unknown),$(error Nothing was done, there is no target $(unknown): see make help. An \
	environment follows a dash, as in make migrate-staging))

setup: .venv/locked ## .venv with the locked versions

.venv/locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or later is needed: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
		{ echo "Python lacks venv or ensurepip: on Debian, apt install python3-venv" >&2; exit 2; }
	@echo "Installing the locked versions into .venv (once) ..."
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install -qq --disable-pip-version-check \
		--require-hashes -r requirements.lock || \
		{ echo "The packages are not installed: is the package index reachable? PIP_INDEX_URL may" \
		"name another; then run it again." >&2; exit 2; }
	@touch $@

start: setup ## the local server (POSTGRES=16 for the older one, until 18 is asked for)
	@$(locally) $(in_venv) exec python -m local_postgres start $(POSTGRES)

sample-data: start ## N bilingual listings in the local database (N=10000)
	$(ignored)
	@$(locally) $(in_venv) exec python -m operations sample-data $(N)

stop: ## stop the local server
	@[ ! -e .venv/locked ] || { $(in_venv) python -m local_postgres stop; }

outside = $(shell grep -l '^-- transactional: false' migrations/*.sql)

lint: setup ## ruff, sqlfluff and squawk
	@$(in_venv) ruff check -q . && ruff format --check -q . && sqlfluff lint --disable-progress-bar . && \
	squawk $(filter-out $(outside),$(wildcard migrations/*.sql)) \
		$(if $(outside),&& squawk --no-assume-in-transaction $(outside))

later := $(filter-out migrations/0001_%,$(wildcard migrations/*.sql))

# With later migrations, what is about the first is tested in a copy that has it alone (OF_ALL).
# Beside each other, lint and three runs of pytest, which take file after file (tests/conftest.py)
test: setup ## lint, and all tests on PostgreSQL 16 and 18
	@$(in_venv) folder=$$(mktemp -d) && chmod 755 $$folder && mkdir $$folder/taken && \
	export TESTS_TAKEN=$$folder/taken && \
	{ make lint > $$folder/log-0 2>&1 & pids=$$!; } && \
	for run in 2 3; do pytest -q --basetemp=$$folder/$$run > $$folder/log-$$run 2>&1 & \
		pids="$$pids $$!"; done; \
	pytest --basetemp=$$folder/1; failed=$$?; \
	for pid in $$pids; do wait $$pid || failed=1; done; \
	cat $$folder/log-*; rm -rf $$folder; exit $$failed
	@[ -z '$(later)' ] || { folder=$$(mktemp -d) && chmod 755 $$folder && trap "rm -rf $$folder" EXIT && \
	tar c --exclude=./.git --exclude=./.venv --exclude=./backups --exclude=./local_postgres/data . \
		| tar x -C $$folder && cd $$folder && ln -s '$(CURDIR)/.venv' .venv && rm $(later) && \
	make renew && make test; }

new: setup ## the next migration: NAME=add_slug TABLE=properties (CONCURRENTLY=1 for an index)
	@$(in_venv) python -m development.new '$(NAME)' $(TABLE) $(if $(CONCURRENTLY),--concurrently)

renew: setup ## what is generated from the migrations: checksums, what is expected, pages
	@$(in_venv) python -m development.renew

benchmark: setup ## docs/benchmark.md and its picture, measured here (N=100000)
	@$(in_venv) python -m benchmark $(N)

lock: ## renew requirements.lock from pyproject.toml; with UPGRADE=1 to the newest versions
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(PYTHON) -m venv "$$folder" && \
	"$$folder/bin/pip" install -qq --disable-pip-version-check uv && \
	"$$folder/bin/uv" pip compile -q pyproject.toml --all-extras --universal --python-version 3.10 \
		--generate-hashes --no-annotate --no-config --custom-compile-command 'make lock' \
		$(if $(UPGRADE),--upgrade) -o requirements.lock

clean: stop ## remove the local server, its data and .venv
	@rm -rf local_postgres/data .venv
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
