# What a developer and CI run. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
# PyTorch comes by pip, which knows the wheels on a machine's disk; all else by uv, which takes seconds for it
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt
FAST := not ray and not slow and not gpu and not cluster and not heavy and not long
# Four parts of the tests. The first computes: as many processes as cores ("auto" would leave out hyperthreads), each a
# row of neighbours that share what they train. The second starts Ray and commands, two at a time: Ray gives itself 30 s
# to start, and with three at a time on two cores it did not always come up. Files in the order of their names: those with
# the most tests first, as xdist would have it, leaves the longest to the end. The third takes most of a minute each: jobs,
# a notebook on Ray, servers that do not answer. The fourth is what takes long: runs that are hurt from outside, several
# hosts, AWS by moto.
COMPUTING := -n logical --dist worksteal -m "not ray and not cluster and not gpu and not heavy and not long and not faults"
WAITING = -n 2 --dist loadfile --no-loadscope-reorder -m "(ray or cluster or gpu) and not heavy and not long and not faults" $(MARKED)
# to collect them in all files would take as long as a start of Ray; tests/test_repository.py looks that none is missing
MARKED = $(sort $(shell grep -lrE --include='*.py' 'mark\.(ray|cluster|gpu)\b' tests))
HEAVY := -n 2 --dist loadfile --no-loadscope-reorder -m "heavy and not long and not faults"
LONG := -n 2 --dist loadfile --no-loadscope-reorder
# `make test COVERAGE=yes` measures it, and has a floor: the first part then takes half as long again; CI leaves it out
COVERAGE ?=
MEASURED := $(if $(COVERAGE),--cov --cov-report= --cov-fail-under=0)
TEST_TOOLS := hatchling pytest pytest-timeout pytest-xdist hypothesis "moto[server]" nbclient ipykernel
SMALLEST := --set dataset=digits --set image_size=8 --set width=2 --set epochs=1
DATA ?= cifar10
PINS := torch==2.14.1 torchvision==0.29.1 ray==2.60.0

# Tests start hundreds of processes, and uv compiles nothing that it installs. Where Python may not write bytecode either,
# each of them compiles anew what it imports: `import ray` takes 2.0 s of processor time so, and 0.7 s otherwise.
unexport PYTHONDONTWRITEBYTECODE

# the lines of targets that run side by side stay whole, where make can do that (macOS has one of 2006)
LINES := $(if $(filter output-sync,$(.FEATURES)),--output-sync=line)

.DEFAULT_GOAL := help
.PHONY: help venv demo lint check test test-quick longer test-fast test-computing test-waiting test-heavy test-long test-lowest test-newest test-bound test-ray test-cluster test-faults test-crashes host-tools browser-tools docs bench mutants wheel lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## create .venv and install raytrain with its tools (again only when pyproject.toml or constraints.txt changed)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' 2> /dev/null || { \
	  echo "raytrain needs Python 3.11.4 or newer; '$(PYTHON)' is older or not there." >&2; \
	  echo "Name another one, for example: make PYTHON=python3.12 venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch torchvision uv
	$(INSTALL) -e ".[dev,aws,timm,hf,optuna,onnx,mlflow,wandb]"
	# Trackio works with Pillow 13, which its own metadata refuses, so the two are not installed together
	$(INSTALL) --no-deps trackio brotli gradio-client orjson python-multipart
	@touch $@

demo: $(STAMP) ## compare five small networks on the digits that come with scikit-learn: some minutes on two cores, after the set-up
	$(BIN)/raytrain compare experiments/quick.yaml

lint: $(STAMP) ## the static checks alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/vulture
	$(BIN)/typos

check: $(STAMP) ## everything quick: the static checks, and the tests that take up to a tenth of a second each
	@$(MAKE) --no-print-directory -j 2 $(LINES) lint test-quick

test: $(STAMP) ## the static checks and all tests but the heavy and the long ones; `make test COVERAGE=yes` adds the heavy ones and a floor
	@rm -f .coverage .coverage-*
	@$(MAKE) --no-print-directory -j 2 $(LINES) lint test-computing
	@$(MAKE) --no-print-directory test-waiting
	$(if $(COVERAGE),@$(MAKE) --no-print-directory test-heavy)
	$(if $(COVERAGE),$(BIN)/coverage combine --quiet .coverage-computing .coverage-waiting .coverage-heavy)
	$(if $(COVERAGE),$(BIN)/coverage report)

test-quick: $(STAMP)
	$(BIN)/pytest -q -n logical --dist worksteal -m "$(FAST) and not longer"

longer: $(STAMP) ## measure the tests anew, and write which of them `make check` leaves out: tests/longer.txt
	$(BIN)/pytest -q -n logical --dist worksteal -m "$(FAST)" --junitxml=build/longer.xml
	$(BIN)/python tests/longer.py build/longer.xml

test-fast: $(STAMP) ## the tests that need neither Ray nor more than a second each
	$(BIN)/pytest -q -n logical --dist worksteal -m "$(FAST)"

test-computing: $(STAMP)
	COVERAGE_FILE=.coverage-computing $(BIN)/pytest -q $(COMPUTING) $(MEASURED)

# not measured in the commands that it starts, which are killed, and whose Ray would be measured too
test-waiting: $(STAMP)
	COVERAGE_PATCH=_exit COVERAGE_FILE=.coverage-waiting $(BIN)/pytest -q $(WAITING) $(MEASURED)

test-heavy: $(STAMP) ## tests of most of a minute each, which `make test` leaves to CI: jobs, a notebook on Ray, silent servers
	COVERAGE_PATCH=_exit COVERAGE_FILE=.coverage-heavy $(BIN)/pytest -q $(HEAVY) $(MEASURED)

test-long: $(STAMP) ## what takes long: runs that are killed, starved and cut off, three hosts over ssh, AWS by moto (as root)
	$(BIN)/pytest -q $(LONG) -m "long or faults"

test-lowest: $(STAMP) ## the oldest versions that pyproject.toml allows, in build/lowest: the fast tests, and Ray with one and two workers
	@$(MAKE) --no-print-directory test-bound BOUND=lowest RESOLUTION=lowest-direct

test-newest: $(STAMP) ## the same with the newest versions, in build/newest
	@$(MAKE) --no-print-directory test-bound BOUND=newest RESOLUTION=highest

# other versions than the pinned ones may warn: what they warn of is shown, and no failure
test-bound:
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/$(BOUND)
	$(BIN)/uv pip install --quiet --python build/$(BOUND) --resolution $(RESOLUTION) -e .
	$(BIN)/uv pip install --quiet --python build/$(BOUND) $(TEST_TOOLS)
	build/$(BOUND)/bin/python -m pytest -q -W default -n logical --dist worksteal -m "$(FAST)"
	build/$(BOUND)/bin/raytrain train $(SMALLEST) --name one --fresh --out build/$(BOUND)/runs
	build/$(BOUND)/bin/raytrain train $(SMALLEST) --name two --fresh --out build/$(BOUND)/runs --workers 2

test-ray: $(STAMP) ## of the others, only those that start Ray
	$(BIN)/pytest -n 2 --dist loadfile -m "(ray or cluster) and not long and not faults"

test-cluster: $(STAMP) host-tools ## clusters of several nodes: three hosts on this machine over ssh, S3 and AWS by moto (as root)
	$(BIN)/pytest -n 2 --dist loadfile -m cluster

test-faults: $(STAMP) ## of the long tests: runs that are killed, starved, cut off and filled up, and go on (as root)
	$(BIN)/pytest -q $(LONG) -m "faults and not long"

test-crashes: $(STAMP) ## of those, a run that is killed at each of its writes: the part that CI runs
	$(BIN)/pytest -q -n 2 -m "faults and not long" tests/faults/test_crash_points.py

host-tools: ## install what the hosts are made of, where it is missing: openssh-server, rsync, iproute2 of Debian
	@{ test -x /usr/sbin/sshd && command -v rsync ip unshare > /dev/null; } || { \
	  apt-get update -q && apt-get install -qy --no-install-recommends openssh-server rsync iproute2 util-linux; }

browser-tools: ## install Debian's chromium and its driver, where they are missing: the report's tests look at it there
	@command -v chromium chromedriver > /dev/null || { \
	  apt-get update -q && apt-get install -qy --no-install-recommends chromium chromium-driver; }

docs: $(STAMP) ## build the documentation as a site in build/docs; a broken link is an error
	$(INSTALL) -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(STAMP) ## measure the loop, the input, the framework, the start and the sweep against others; `make bench DATA=PATH` for images at PATH
	$(INSTALL) -e ".[bench]"
	$(BIN)/python benchmarks/epoch.py --data $(DATA)
	$(BIN)/python benchmarks/input_pipeline.py --data $(DATA)
	$(BIN)/python benchmarks/framework.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/makespan.py
	$(BIN)/python benchmarks/record.py --table

mutants: $(STAMP) ## change the code in 200 places and see whether a test notices: experiments/records/mutants.json
	$(BIN)/python benchmarks/mutants.py

wheel: $(STAMP) ## build dist/raytrain-*.whl; `make wheel URL=https://github.com/OWNER/raytrain` for a package index
	$(if $(URL),RAYTRAIN_URL='$(URL)') $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

lock: $(STAMP) ## resolve constraints.txt again; `make lock UPGRADE=--upgrade` takes the newest versions
	@printf '%s\n' $(PINS) > $(VENV)/pins.txt
	@echo 'pillow>=10.3' > $(VENV)/overrides.txt # Trackio's metadata refuses Pillow 13
	$(BIN)/uv pip compile --quiet --universal --no-annotate --no-header --all-extras $(UPGRADE) \
	  --constraints $(VENV)/pins.txt --overrides $(VENV)/overrides.txt --output-file constraints.txt pyproject.toml

clean: ## remove caches and build outputs; runs/ and .venv stay
	rm -rf build dist htmlcov .coverage .coverage.* .coverage-* .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
