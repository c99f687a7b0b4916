#!/usr/bin/env bash
# `make lint`: checks formatting, clippy with warnings denied, and licences and sources of dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$HOME/.cargo/bin:$PATH
scripts/need.sh lint
cargo fmt --all --check
cargo clippy --locked --workspace --all-targets -- -D warnings
command -v cargo-deny >/dev/null || cargo install -q --locked cargo-deny
# The advisories check needs network access, which not every machine has; the other checks do not.
cargo deny --offline --log-level error check licenses bans sources
