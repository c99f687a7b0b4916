# run: start a cloud here · test: every test · lint: fmt, clippy, cargo-deny · bench: figures beside peers
# install: the program, its manual and completions, under PREFIX
# kills: kill -9 at every step of every operation on real machines; about two hours
.PHONY: run test lint bench install kills

run:
	@scripts/run.sh

test:
	@scripts/test.sh

lint:
	@scripts/lint.sh

bench:
	@scripts/bench.sh

PREFIX ?= /usr/local
install:
	@scripts/install.sh "$(DESTDIR)$(PREFIX)"

kills:
	@scripts/kills.sh
