# Every target sets up what it needs; the environments are rebuilt when pyproject.toml changes.

PYTHON ?= python3
# The version that is known to work, named here because pip would otherwise choose one with several GB of CUDA libraries.
TORCH ?= torch==2.13.0
RIVA_CLIENT ?= nvidia-riva-client==2.28.0
LIVEKIT ?= livekit-plugins-nvidia==1.8.9
PIPECAT ?= pipecat-ai[nvidia]==1.14.0
WYOMING ?= wyoming==1.10.2
OPENAI ?= openai==3.54.0
# The engines that must be able to read our bundles. kaldi-native-fbank is what sherpa-onnx computes features with.
ONNX_ASR ?= onnx-asr==0.12.0 onnxruntime
SHERPA ?= sherpa-onnx==2.0.1 sherpa-onnx-bin==2.0.1 kaldi-native-fbank==1.23.0 numpy
# The coverage-guided fuzzer of the parsers.
ATHERIS ?= atheris==3.1.0
PYTEST_FLAGS ?= -q
# Files of tests that run at once. Those of the conversion run alone: each takes all cores and gigabytes of memory.
WORKERS ?= 2
AT_ONCE = --numprocesses=$(WORKERS) --dist=loadfile
PYTHONS ?= python3.12 python3.13

PIP_FLAGS := --quiet --disable-pip-version-check

# An environment is ready when its stamp is newer than pyproject.toml.
RUN_STAMP := .venv/.ready
DEV_STAMP := .venv/.ready-dev
CONVERT_STAMP := .venv-convert/.ready
RIVA_STAMP := .venv-riva/.ready
LIVEKIT_STAMP := .venv-livekit/.ready
PIPECAT_STAMP := .venv-pipecat/.ready
WYOMING_STAMP := .venv-wyoming/.ready
OPENAI_STAMP := .venv-openai/.ready
ONNX_ASR_STAMP := .venv-onnx-asr/.ready
SHERPA_STAMP := .venv-sherpa/.ready
FUZZ_STAMP := .venv-fuzz/.ready
CLUSTER_STAMP := .venv-cluster/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-daemon test-convert test-e2e test-pythons isolated size peers streams fuzz test-cluster lint format proto-check clean python

help:  ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: $(RUN_STAMP)  ## Stream the shipped clips through the real server and print what it recognises
	@.venv/bin/parakeetd demo

test: test-daemon test-convert test-e2e  ## Run all tests

test-daemon: $(DEV_STAMP)  ## Run the daemon's and the packaging's tests
	@echo "== tests: daemon, packaging"
	@.venv/bin/python -m pytest $(PYTEST_FLAGS) $(AT_ONCE) tests/daemon tests/packaging

test-convert: $(CONVERT_STAMP) $(ONNX_ASR_STAMP) $(SHERPA_STAMP)  ## Run the conversion's tests, against NeMo
	@echo "== tests: convert"
	@.venv-convert/bin/python -m pytest $(PYTEST_FLAGS) tests/convert

test-e2e: $(DEV_STAMP) $(RIVA_STAMP) $(LIVEKIT_STAMP) $(PIPECAT_STAMP) $(WYOMING_STAMP) $(OPENAI_STAMP)  ## Run the end-to-end tests: Riva, LiveKit, pipecat, Wyoming, OpenAI
	@echo "== tests: end to end"
	@.venv/bin/python -m pytest $(PYTEST_FLAGS) $(AT_ONCE) tests/e2e

test-pythons: python  ## Run the daemon's tests on other versions: make test-pythons PYTHONS="python3.12 python3.13"
	@for python in $(PYTHONS); do \
		echo "== tests: daemon on $$($$python --version)"; \
		folder=.venv-$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		test -x $$folder/bin/pip || $$python -m venv --clear $$folder || exit 1; \
		$$folder/bin/pip install $(PIP_FLAGS) --upgrade "pip>=25.1" || exit 1; \
		$$folder/bin/pip install $(PIP_FLAGS) --editable ".[adapters]" --group test || exit 1; \
		$$folder/bin/python -m pytest $(PYTEST_FLAGS) $(AT_ONCE) tests/daemon || exit 1; \
	done

isolated: $(CONVERT_STAMP)  ## Convert the demo model with --isolated, really (takes minutes, downloads the toolchain)
	@PARAKEETD_TORCH="$(TORCH)" .venv-convert/bin/python -m pytest $(PYTEST_FLAGS) -m slow -s tests/convert

size: $(DEV_STAMP)  ## Measure what an installation without extras takes on disk (downloads it anew)
	@.venv/bin/python -m pytest $(PYTEST_FLAGS) -m slow -s tests/packaging

MODEL ?= tests/fixtures/demo.nemo

peers: $(DEV_STAMP) $(CONVERT_STAMP) $(ONNX_ASR_STAMP) $(SHERPA_STAMP)  ## Time us against other engines on the same weights: make peers MODEL=0.6b
	@.venv/bin/python tests/bench/peers.py $(MODEL)

streams: $(DEV_STAMP) $(CONVERT_STAMP) $(SHERPA_STAMP)  ## Measure latency under many real-time streams, and sherpa-onnx's server
	@.venv/bin/python tests/bench/streams.py $(MODEL) --search 0.05,0.5 --servers parakeetd,utterances,sherpa --cpu-process

fuzz: $(DEV_STAMP) $(FUZZ_STAMP)  ## Feed all that reads with 20,000 damaged inputs, then let a coverage-guided fuzzer look for more
	@.venv/bin/python tests/bench/fuzz.py --guided 60

test-cluster: $(CLUSTER_STAMP) $(RIVA_STAMP)  ## Deploy to a Ray cluster of three nodes on this machine, lose one, measure (nine minutes)
	@.venv-cluster/bin/python tests/bench/cluster.py

lint: $(DEV_STAMP)  ## Check formatting, style, types and who imports whom
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: $(DEV_STAMP)  ## Format the code and repair what can be repaired
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

proto-check: python  ## Check that the generated protobuf code is current
	PYTHON=$(PYTHON) proto/generate.sh --check

clean:  ## Remove the environments and caches
	rm -rf .venv .venv-* dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON) is missing; install it with: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is older than Python 3.11; name a newer one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments; install it with: apt-get install python3-venv" >&2; exit 1; }

# pip 25.1 is the first that knows dependency groups.
define make_venv
	@echo "== setting up $(1) (once)"
	@test -x $(1)/bin/pip || $(PYTHON) -m venv --clear $(1)
	@$(1)/bin/pip install $(PIP_FLAGS) --upgrade "pip>=25.1"
endef

$(RUN_STAMP): pyproject.toml | python
	$(call make_venv,.venv)
	@.venv/bin/pip install $(PIP_FLAGS) --editable .
	@.venv/bin/python -c 'import grpc, onnxruntime, soundfile, soxr, webrtcvad' || { \
		echo "a library above is missing; install what its message names, for instance with:" \
			"apt-get install libstdc++6 libsndfile1" >&2; exit 1; }
	@touch $@

$(DEV_STAMP): $(RUN_STAMP)
	@echo "== adding the development tools to .venv (once)"
	@.venv/bin/pip install $(PIP_FLAGS) --editable ".[adapters]" --group dev
	@touch $@

$(CONVERT_STAMP): pyproject.toml | python
	$(call make_venv,.venv-convert)
	@.venv-convert/bin/pip install $(PIP_FLAGS) "$(TORCH)"
	@.venv-convert/bin/pip install $(PIP_FLAGS) --editable ".[convert]" --group convert-test
	@touch $@

$(RIVA_STAMP): Makefile | python
	$(call make_venv,.venv-riva)
	@.venv-riva/bin/pip install $(PIP_FLAGS) "$(RIVA_CLIENT)"
	@touch $@

$(LIVEKIT_STAMP): Makefile | python
	$(call make_venv,.venv-livekit)
	@.venv-livekit/bin/pip install $(PIP_FLAGS) "$(LIVEKIT)"
	@touch $@

$(PIPECAT_STAMP): Makefile | python
	$(call make_venv,.venv-pipecat)
	@.venv-pipecat/bin/pip install $(PIP_FLAGS) "$(PIPECAT)"
	@touch $@

$(WYOMING_STAMP): Makefile | python
	$(call make_venv,.venv-wyoming)
	@.venv-wyoming/bin/pip install $(PIP_FLAGS) "$(WYOMING)"
	@touch $@

$(OPENAI_STAMP): Makefile | python
	$(call make_venv,.venv-openai)
	@.venv-openai/bin/pip install $(PIP_FLAGS) "$(OPENAI)"
	@touch $@

$(FUZZ_STAMP): pyproject.toml | python
	$(call make_venv,.venv-fuzz)
	@.venv-fuzz/bin/pip install $(PIP_FLAGS) --editable . "$(ATHERIS)"
	@touch $@

$(CLUSTER_STAMP): pyproject.toml | python
	$(call make_venv,.venv-cluster)
	@.venv-cluster/bin/pip install $(PIP_FLAGS) --editable ".[cluster]" --group test
	@touch $@

$(ONNX_ASR_STAMP): Makefile | python
	$(call make_venv,.venv-onnx-asr)
	@.venv-onnx-asr/bin/pip install $(PIP_FLAGS) $(ONNX_ASR)
	@touch $@

$(SHERPA_STAMP): Makefile | python
	$(call make_venv,.venv-sherpa)
	@.venv-sherpa/bin/pip install $(PIP_FLAGS) $(SHERPA)
	@touch $@
