# The commands of the project. Each installs what it needs, and may be run twice.
#
#   make run                     start the server, and print its address
#   make learn                   learn a real text (the standard library's Python) for a minute, then write like it
#   make learn FILE=a.txt MINUTES=3
#   make test                    everything CI checks: ruff, mypy, pytest
#   make bench                   the benchmark table (most of an hour; python -m benchmarks NAME runs one)
#   make bench PEER=torch_lstm.py PEER_PYTHON=python TEXT=tinyshakespeare.txt
#   make lint | lock | clean

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
FILE ?=
MINUTES ?= 1
SIDE_BY_SIDE ?= 2

.DEFAULT_GOAL := run
.PHONY: run learn test lint bench lock clean

run: $(INSTALLED)
	@scripts/run.sh "$(PYTHON)"

learn: $(INSTALLED)
	@scripts/learn.sh "$(PYTHON)" "$(MINUTES)" "$(FILE)"

test: lint
	@scripts/system.sh
	$(PYTHON) -m pytest --numprocesses $(SIDE_BY_SIDE) --dist loadfile -m "not alone"
	$(PYTHON) -m pytest -m alone

lint: $(INSTALLED)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

bench: $(INSTALLED)
	$(PYTHON) -m benchmarks $(if $(PEER),--peer $(PEER)) $(if $(PEER_PYTHON),--peer-python $(PEER_PYTHON)) \
		$(if $(TEXT),--text $(TEXT))

# pinned versions with hashes for every supported Python and platform; no host is named in them. The second, for the
# container, is the first without what only tests need
lock:
	scripts/install.sh --tool uv
	build/tool-uv/bin/uv pip compile pyproject.toml --extra test --group build --universal --upgrade \
		--generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		--quiet --output-file requirements.lock
	build/tool-uv/bin/uv pip compile pyproject.toml --extra s3 --group build --universal --constraint requirements.lock \
		--generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		--quiet --output-file requirements-server.lock
	@! grep -n '://' requirements.lock requirements-server.lock

$(INSTALLED): requirements.lock pyproject.toml scripts/install.sh
	scripts/install.sh
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
