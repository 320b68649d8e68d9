# SPDX-License-Identifier: Apache-2.0
# The front door. Meson does the work, in build/; everything else is Meson's own: see docs/style.md.
# The targets that need Debian packages call tools/bootstrap first, which installs what is missing.

BUILD ?= build
export BUILD

.DEFAULT_GOAL := all
.PHONY: all build demo test bench bench-exact lint reliability install clean help

all: ## build everything into build/ (installs missing build packages)
	@tools/bootstrap build
	@$(MAKE) --no-print-directory build

build: ## build only, with what is installed
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD)
	@ninja -C $(BUILD)

demo: ## watch a small leaking service until Ctrl-C (no terminal: DEMO_SECONDS, 60); the report names the line
	@tools/bootstrap build demo
	@$(MAKE) --no-print-directory build
	@tools/demo $(BUILD)

test: ## build and run every test, then print "N passed, N failed, N skipped"
	@tools/bootstrap build test
	@$(MAKE) --no-print-directory build
	@tools/run_tests $(BUILD)

bench: ## measure the overhead on real programs (BENCH_ARGS="--exact --repetitions 20 --markdown FILE")
	@tools/bootstrap build bench
	@$(MAKE) --no-print-directory build
	@/usr/bin/python3 bench/run_bench.py --build $(BUILD) $(BENCH_ARGS)

bench-exact: ## exact mode beside heaptrack, jemalloc, gperftools, DHAT: 15 minutes (BENCH_ARGS=--quick: less)
	@tools/bootstrap build bench
	@$(MAKE) --no-print-directory build
	@/usr/bin/python3 bench/run_peers.py --build $(BUILD) $(BENCH_ARGS)

lint: ## format, layers, clang-tidy, cppcheck, spelling
	@tools/bootstrap build test lint
	@tools/lint

reliability: ## the long tests: storms of kills, forks and loads; interval coverage over many seeds
	@tools/bootstrap build test
	@$(MAKE) --no-print-directory build
	@tools/run_tests --long $(BUILD)

# Without PREFIX the build directory's own: /usr/local, unless it was set up for another.
install: ## build and install; PREFIX=DIR (/usr/local) and DESTDIR=DIR as usual
	@tools/bootstrap build
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD)
	@$(if $(PREFIX),meson configure $(BUILD) --prefix=$(abspath $(PREFIX)))
	@ninja -C $(BUILD)
	@test -f $(BUILD)/docs/man/riptide.1 || ! command -v scdoc >/dev/null || \
		{ meson setup --reconfigure $(BUILD) && ninja -C $(BUILD); }
	@meson install -C $(BUILD) --no-rebuild $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))
	@test -n "$(DESTDIR)" || test "$$(id -u)" != 0 || ldconfig
	@echo "ninja -C $(BUILD) uninstall takes it back"

clean: ## remove the build directories
	@rm -rf build build-gcc build-clang build-asan build-tsan

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
