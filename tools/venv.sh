#!/bin/sh
# Makes .venv with a fitting Python and installs idrstream in it; says what is missing.
# Usage: tools/venv.sh EXTRAS   (for example "" or "dev"); does nothing when already done.
set -eu
cd "$(dirname "$0")/.."
extras="${1:-}"
target=".${extras:+[$extras]}"
stamp=".venv/.installed-${extras:-plain}"
wanted="$(cat pyproject.toml constraints.txt | cksum)"
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0

fits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 12))' 2>/dev/null; }

if [ ! -x .venv/bin/python ] || ! fits .venv/bin/python; then
    python=""
    for candidate in ${PYTHON:-} python3.11 python3.10 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 && fits "$candidate"; then
            python="$candidate"
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "idrstream needs Python 3.10 or 3.11 (DeepProfiler 0.5.1 runs on no other)." >&2
        echo "Install one (Debian: apt-get install python3.11 python3.11-venv) or name it: make PYTHON=/path/to/python3.11 ..." >&2
        exit 2
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "$python has no venv module. Debian: apt-get install python3.11-venv (the version of $python)." >&2
        exit 2
    fi
    free_mb="$(df -Pm . | awk 'NR == 2 { print $4 }')"
    if [ "$free_mb" -lt 6000 ]; then
        echo "The environment needs 6 GB of free disk here; there are $free_mb MB in $(pwd)." >&2
        exit 2
    fi
    rm -rf .venv
    "$python" -m venv .venv
fi
echo "Installing idrstream $target into .venv (3.6 GB, some minutes the first time) ..."
if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$target"; then
    echo "The installation failed; the message above says why (network, disk?). Run the same command again to go on." >&2
    exit 2
fi
echo "$wanted" > "$stamp"
