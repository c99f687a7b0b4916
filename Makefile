# run: start a cloud here · test: every test · lint: fmt, clippy, cargo-deny · bench: figures beside peers
# test-oracle: thousands of generated requests to Nephos and to Swift, which must answer alike
# fuzz: the parsers of untrusted bytes, for some minutes, with a seed that is printed
# install: the program, its manual and completions, under PREFIX
# test-busy: the crates' tests three times while other work takes both cores
# test-fresh: what `make run` installs, tried on fresh Debian systems
# soak: kill -9 at random moments under 32 clients, 500 times
# soak-memory: the memory of a process under mixed clients for an hour
# soak-sign-ins: the memory of a process after ten thousand sign-ins with a password
# powercuts: simulated power cuts, a thousand of them
# kills: kill -9 at every step of every operation on real machines; about two hours
.PHONY: run test test-busy test-fresh test-oracle fuzz lint bench install soak soak-memory soak-sign-ins powercuts kills

run:
	@scripts/run.sh

test:
	@scripts/test.sh

test-oracle:
	@scripts/oracle.sh

fuzz:
	@scripts/fuzz.sh

lint:
	@scripts/lint.sh

bench:
	@scripts/bench.sh

PREFIX ?= /usr/local
install:
	@scripts/install.sh "$(DESTDIR)$(PREFIX)"

test-busy:
	@scripts/test-busy.sh

test-fresh:
	@tests/hosts/fresh.sh run

soak:
	@scripts/soak.sh

soak-memory:
	@scripts/soak-memory.sh

soak-sign-ins:
	@NEPHOS_SOAK_SIGN_INS=$${NEPHOS_SOAK_SIGN_INS:-10000} scripts/soak-memory.sh

powercuts:
	@scripts/powercuts.sh

kills:
	@scripts/kills.sh
