# The front door. `make help` lists what it can do.

CARGO ?= cargo
TWINFRAME = $(CARGO) run -q -p twinframe-tests --

# Clippy and rustdoc of the kernel have a target directory of their own, beside the one of its builds.
LINT_KERNEL = -p twinframe-kernel --target $$triple --target-dir target/lint-kernel

.PHONY: help run stress test kernel lint qemu storm asan fuzz bench clean

help: ## list the targets and the knobs
	@echo 'make TARGET [KNOB=VALUE ...]'
	@echo
	@sed -n 's/^\([a-z]*\):.*## /  \1 :/p' $(MAKEFILE_LIST) | awk -F' :' '{ printf "%-10s %s\n", $$1, $$2 }'
	@echo
	@echo 'knobs of `make run` and `make stress`:'
	@sed -n 's/^#  \([A-Z]*\)= *## /  \1= :/p' $(MAKEFILE_LIST) | awk -F' :' '{ printf "%-10s %s\n", $$1, $$2 }'

#  SMP=      ## number of CPUs (default: the machine's, which is 1; on microvm nothing tells the kernel of more)
#  MEM=      ## memory, as in 64M or 6G (default: the machine's, which is 256M; MACHINE=mem4t has 4 TiB)
#  MACHINE=  ## q35, pc, microvm, or a machine of the test matrix (default: q35)
#  ACCEL=    ## tcg, single (tcg, its CPUs in turns), kvm, or auto: kvm where it certainly works (default: auto)
#  ICOUNT=   ## let an instruction take 2^N ns: a schedule that repeats, another one for each of 0 to 10
#  SEED=     ## seed of the randomised tests, decimal or 0x hexadecimal
#  SUITE=    ## only these suites, separated by commas (default: all)
#  TEST=     ## only this test, as suite::test
#  MINUTES=  ## how long `make stress` takes in all (default: 10)
#  TIMEOUT=  ## seconds after which the run counts as hung (default: 300, and what MINUTES= gives)

run: qemu ## boot the kernel, run its tests and the comparison, live; exit with 0 only if all passed
	@$(TWINFRAME) run

stress: qemu ## run the stress suite for long (MINUTES=30 SMP=8 ...), with a line every few seconds
	@MINUTES='$(or $(MINUTES),10)' $(if $(TEST),,SUITE='$(or $(SUITE),stress)') $(TWINFRAME) run

test: qemu ## run every test of the project, those in the kernel included
	@$(TWINFRAME) test

kernel: ## build the release kernel; the last line is the path of its ELF
	@$(TWINFRAME) kernel

lint: ## check formatting, clippy and rustdoc, with warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --exclude twinframe-kernel --all-targets -- -D warnings
	triple=$$($(TWINFRAME) target) && $(CARGO) clippy $(LINT_KERNEL) -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps
	triple=$$($(TWINFRAME) target) && \
	    RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --document-private-items $(LINT_KERNEL)

qemu: ## get QEMU if it is missing (Debian, Ubuntu), or say how
	@$(TWINFRAME) qemu

storm: ## run the host's stress tests, threads and signals against each other, for 20 seconds each
	STORM_SECONDS=20 $(CARGO) test -q -p twinframe --lib -- storm timers --nocapture

# Sanitizers and coverage are unstable flags, which a stable compiler takes when it is told that it builds
# itself. Its precompiled standard library does: what is to be watched is the allocator.
HOST = $$(rustc -vV | sed -n 's/^host: //p')
UNSTABLE = RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address $(1)" $(CARGO)
COVERAGE = -Cpasses=sancov-module -Ccodegen-units=1 --cfg fuzzing $(addprefix -Cllvm-args=-sanitizer-coverage-, \
    level=4 inline-8bit-counters pc-table trace-compares)
SECONDS ?= 60

# Tests leave memory to their allocators for good, and watched code needs more stack.
ASAN = ASAN_OPTIONS=detect_leaks=0 $(call UNSTABLE,) test -p twinframe --lib --target $(HOST) --target-dir target/asan

asan: ## run the allocator's tests with the address sanitizer, also hardened
	$(ASAN) -- --skip small_stack
	$(ASAN) --features hardened,init_on_free,fault_injection -- --skip small_stack

fuzz: ## fuzz each target for SECONDS (60), with the address sanitizer; keeps what it finds in fuzz/found
	cd fuzz && $(call UNSTABLE,$(COVERAGE)) build --release --target $(HOST)
	cd fuzz && for target in $$(ls corpus); do \
	    mkdir -p found/$$target artifacts/$$target && \
	    target/$(HOST)/release/$$target -max_total_time=$(SECONDS) -max_len=2000 -len_control=0 \
	        -artifact_prefix=artifacts/$$target/ found/$$target corpus/$$target || exit 1; done

bench: qemu ## measure Twinframe beside other allocators: in time on this host, in instructions in the kernel
	@mkdir -p target/twinframe
	@$(CARGO) run -q --release -p twinframe-bench --features mallocs -- \
	    --json target/twinframe/bench.json --svg target/twinframe/bench.svg
	@MACHINE=icount SUITE=comparison $(TWINFRAME) run

clean: ## remove everything that was built
	$(CARGO) clean
	rm -rf fuzz/target
