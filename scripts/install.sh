#!/usr/bin/env bash
# `make install`: installs the program, its manual pages and its shell completions below the given directory.
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=$1
cargo build --release --locked -p nephos
nephos=${CARGO_TARGET_DIR:-target}/release/nephos
install -D -m 755 "$nephos" "$prefix/bin/nephos"
"$nephos" man "$prefix/share/man/man1"
mkdir -p "$prefix/share/bash-completion/completions" "$prefix/share/zsh/site-functions" \
  "$prefix/share/fish/vendor_completions.d"
"$nephos" completions bash >"$prefix/share/bash-completion/completions/nephos"
"$nephos" completions zsh >"$prefix/share/zsh/site-functions/_nephos"
"$nephos" completions fish >"$prefix/share/fish/vendor_completions.d/nephos.fish"
