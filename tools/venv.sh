#!/bin/sh
# Makes an environment with a fitting Python and installs in it; says what is missing.
# Usage: tools/venv.sh [EXTRAS]         idrstream in .venv (EXTRAS for example "dev")
#        tools/venv.sh --deepprofiler   DeepProfiler in .venv-deepprofiler
# Does nothing when already done. PYTHON names the Python to take if it fits.
set -eu
cd "$(dirname "$0")/.."

# Of several Pythons the one that CI tests comes first.
if [ "${1:-}" = "--deepprofiler" ]; then
    what="DeepProfiler" place=".venv-deepprofiler" stamp="$place/.installed"
    first=10 last=11 order="11 10" wants="Python 3.10 or 3.11" needs_mb=3000
    inputs="constraints-deepprofiler.txt tools/venv.sh"
else
    extras="${1:-}"
    what="idrstream .${extras:+[$extras]}" place=".venv" stamp="$place/.installed-${extras:-plain}"
    first=11 last=13 order="11 12 13" wants="Python 3.11, 3.12 or 3.13" needs_mb=8000
    inputs="pyproject.toml constraints.txt tools/venv.sh"
fi
# shellcheck disable=SC2086  # a list of files
wanted="$(cat $inputs | cksum)"
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && exit 0

fits() {
    "$1" -c "import sys; sys.exit(not (3, $first) <= sys.version_info[:2] <= (3, $last))" 2>/dev/null
}

# Prints every command and file that may be a Python, the best first.
candidates() {
    [ -z "${PYTHON:-}" ] || echo "$PYTHON"
    for minor in $order; do
        echo "python3.$minor"
        for python in "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/3.$minor".*/bin/python; do echo "$python"; done
    done
    echo python3
    echo python
}

# Sets python to the first that fits and can make environments; poor to one that fits and cannot.
find_python() {
    python="" poor=""
    found="$(candidates)"
    while IFS= read -r candidate; do
        if command -v "$candidate" >/dev/null 2>&1 && fits "$candidate"; then
            if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
                python="$candidate"
                return
            fi
            poor="${poor:-$candidate}"
        fi
    done <<LIST
$found
LIST
}

make_environment() {
    if [ -n "$python" ]; then
        "$python" -m venv "$place"
    else
        # uv takes a Python of its own where there is none; pip installs, as everywhere else.
        uv venv --quiet --seed --python "${poor:-3.11}" "$place"
    fi
}

if [ ! -x "$place/bin/python" ] || ! fits "$place/bin/python"; then
    find_python
    if [ -z "$python" ] && ! command -v uv >/dev/null 2>&1; then
        if [ -n "$poor" ]; then
            version="$("$poor" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
            echo "$poor has no venv module. Debian: apt-get install python$version-venv; or install uv." >&2
        else
            echo "$what needs $wants: install one (Debian: apt-get install python3.11 python3.11-venv) or uv, or name it: make PYTHON=/path/to/python3.11 ..." >&2
        fi
        exit 2
    fi
    free_mb="$(df -Pm . | awk 'NR == 2 { print $4 }')"
    if [ "$free_mb" -lt "$needs_mb" ]; then
        echo "The environment needs $((needs_mb / 1000)) GB of free disk here; there are $free_mb MB in $(pwd)." >&2
        exit 2
    fi
    rm -rf "$place"
    if ! make_environment; then
        rm -rf "$place"
        echo "The environment $place could not be made; the message above says why." >&2
        exit 2
    fi
fi

install() { "$place/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

install_all() {
    if [ "$what" = "DeepProfiler" ]; then
        install -c constraints-deepprofiler.txt deepprofiler
    else
        # Why these two go in by themselves: see the dependencies in pyproject.toml.
        install --no-warn-conflicts -c constraints.txt -e ".${extras:+[$extras]}" &&
            install --no-deps -c constraints.txt basicpy cellpose
    fi
}

echo "Installing $what into $place with $("$place/bin/python" -V) (some GB, some minutes the first time) ..."
if ! install_all; then
    echo "The installation failed; the message above says why (network, disk?). Run the same command again to go on." >&2
    exit 2
fi
echo "$wanted" > "$stamp"
