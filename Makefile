# run: start a cloud here · test: every test · lint: fmt, clippy, cargo-deny · bench: figures beside peers
.PHONY: run test lint bench

run:
	@scripts/run.sh

test:
	@scripts/test.sh

lint:
	@scripts/lint.sh

bench:
	@scripts/bench.sh
