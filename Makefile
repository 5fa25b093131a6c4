# Type `make` to see what there is. Each target is a script, so that it also works by itself.
.DEFAULT_GOAL := help
.PHONY: help run dev test test-agents test-engines test-interop chaos e2e ci bench fmt lint hello-image agent-images clean-dev

help: ## show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build everything, start a server with a first agent, print its URL
	@scripts/run

dev: ## start the server on ./dev-data again at each change of the code (needs nothing else)
	@scripts/dev

test: ## all tests: Rust on SQLite and PostgreSQL, real Docker, real browser
	@scripts/test

test-engines: ## the engines' suite on Podman (rootful, rootless) and gVisor, each started for it
	@scripts/test-engines

test-interop: ## genuine wallets' SDKs (both generations) against a real server
	@scripts/interop

e2e: ## only the journeys in a real browser, against a fresh server
	@e2e/run

test-agents: ## real agents (OpenClaw, Hermes, nanobot, opencode) with a fake model; builds their images
	@scripts/test-agents

chaos: ## storms under random faults for FOR=10m, with INSTANCES=100, SEED=, STORE=, FAULTS=; a table of what did not hold
	@FOR="$(FOR)" INSTANCES="$(INSTANCES)" SEED="$(SEED)" STORE="$(STORE)" FAULTS="$(FAULTS)" STORM="$(STORM)" JSON="$(JSON)" scripts/chaos

ci: ## exactly what CI runs: all checks, then all tests, none skipped
	@scripts/ci

bench: ## ratios against bare Docker, nginx, HAProxy and bigger databases, in one run (twenty minutes)
	@scripts/bench

fmt: ## format the code
	cargo fmt --all

lint: ## formatting, clippy, documentation, dependencies, layers, sizes, links, scripts
	@scripts/ci lint

hello-image: ## build the image of our tiny agent
	@scripts/ensure-docker
	@scripts/hello-image

agent-images: ## build the images of the agents that have templates, from npm and PyPI
	@scripts/ensure-docker
	@scripts/agent-images

clean-dev: ## remove what `make run` and `make dev` made: their data and their containers
	@scripts/clean-dev
