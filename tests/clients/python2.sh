#!/usr/bin/env bash
# Prints the path of a Python 2.7 with pip, for clients of the cloud's first years, which require it. Debian has none.
set -euo pipefail
for python in python2.7 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python2.7; do
  if "$python" -m pip --version >/dev/null 2>&1; then
    echo "$python"
    exit
  fi
done
echo "Python 2.7 with pip is missing: install pyenv (https://github.com/pyenv/pyenv), then: pyenv install 2.7.18" >&2
exit 2
