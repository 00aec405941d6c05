# The commands of the project. Each makes its own virtual environment (.venv) when there is none; all that must be on
# the machine is Python 3.11 or newer with pip. A second call finds the stamps in .venv and starts at once.

VENV     ?= .venv
PYTHON   ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
                $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP_ARGS ?=
JOBS     ?= 2
ARGS     ?=
ROOM     ?= losses

BIN := $(VENV)/bin
# Without --no-compile pip compiles all modules of all packages, of which few are ever imported; Python does it when needed.
PIP  = $(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check $(PIP_ARGS) -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check coverage bench mutants docs clean

help:  ## this list
	@echo "Seqel: Q-learning with a memory"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.core  ## watch an agent learn a task that needs memory (about 4 minutes on an idle machine)
	@$(BIN)/seqel demo $(ARGS)

test: check  ## everything that must hold before a change lands: `make check`, then the fast tests
	@echo "tests   (in $(JOBS) processes)"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(ARGS)

coverage: $(VENV)/.dev  ## the fast tests, and which lines and branches of src they reach: htmlcov/index.html
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -p pytest_cov \
	    --cov --cov-report=term --cov-report=html $(ARGS)

check: $(VENV)/.dev  ## lint, format, types, wording and the layers of imports; no tests
	@printf 'lint    ' && $(BIN)/ruff check -q . && echo ok
	@printf 'format  ' && $(BIN)/ruff format -q --check . && echo ok
	@printf 'types   ' && $(BIN)/mypy --no-error-summary && echo ok
	@printf 'prose   ' && out=$$($(BIN)/python tools/prose.py) && echo ok || { echo "$$out"; exit 1; }
	@printf 'layers  ' && out=$$($(BIN)/lint-imports 2>&1) && echo ok || { echo "$$out"; exit 1; }

bench: $(VENV)/.dev  ## how fast the parts are here (2 minutes); one benchmark: make bench BENCH=name
ifdef BENCH
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/$(BENCH).py $(ARGS)
else
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/speed_table.py $(ARGS)
	@echo && echo "Others:"
	@for file in benchmarks/[a-z]*.py; do [ ! -e "$$file" ] || \
	    printf '  make bench BENCH=%-16s %s\n' "$$(basename $$file .py)" "$$(sed -n '1s/^"""//p' $$file)"; done
endif

mutants: $(VENV)/.mutants  ## plant faults in a room and count those that no test notices: make mutants ROOM=losses
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/mutation $(ROOM) $(ARGS)

docs: $(VENV)/.docs  ## build the documentation into site/
	@$(BIN)/python docs/generate_cli.py
	@$(BIN)/python docs/generate_settings.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo "docs    ok: open site/index.html"

clean:  ## remove .venv, site, builds and caches; runs/ stays
	@rm -rf $(VENV) site build dist htmlcov .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------------------- the environment

# Where Python comes without ensurepip (some Linux distributions), the machine's own pip fills the environment.
$(VENV)/pyvenv.cfg:
	@[ -n "$(PYTHON)" ] || { echo "Seqel needs Python 3.11 or newer. If you have one: make demo PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	    $(PYTHON) -m pip --python $(BIN)/python install -qq pip; } || { rm -rf $(VENV); exit 1; }

define install # 1: what to install  2: what it is for  3: how long it takes  4: the stamps that it earns
	@echo "Installing $(2) into $(VENV): $(3), once ..."
	@begin=$$(date +%s) && $(PIP) -e '$(1)' && touch $(4) && echo "Installed in $$(( $$(date +%s) - begin )) s."
endef

# The tests' environment holds the demo's, so installing the former saves the latter; never the other way round.
$(VENV)/.core: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(call install,.,Seqel and PyTorch,1 to 4 minutes,$(VENV)/.core)

$(VENV)/.dev: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(call install,.[dev],Seqel$(COMMA) PyTorch and the test tools,1 to 4 minutes,$(VENV)/.core $(VENV)/.dev)

$(VENV)/.mutants: $(VENV)/.dev
	$(call install,.[dev$(COMMA)mutants],mutmut,half a minute,$(VENV)/.mutants)

$(VENV)/.docs: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(call install,.[docs],Seqel and the documentation tools,1 to 4 minutes,$(VENV)/.core $(VENV)/.docs)

COMMA := ,
