#!/bin/sh
# Make .venv from requirements/lock.txt, with ntkbook itself installed from this checkout. A .venv that is
# up to date is left alone; one that is half made, was made from another lock or at another place, or
# does not run any more is made anew.
set -eu
made=.venv/made-from # written when all is installed
log=_build/logs/set-up.log

fail() {
    echo failed
    if grep -qiE 'connection|dns error|name resolution|timed out|unreachable' "$log"; then
        set -- "the package index cannot be reached: connect to the network, or configure pip's index or proxy"
    fi
    echo "set-up failed: $1, then run make again (all output: $log)" >&2
    exit 1
}

install_lock() {
    # uv does not read pip's configuration: where only pip knows the way to an index, pip installs.
    .venv/bin/python -m uv pip install --python .venv/bin/python --require-hashes -r requirements/lock.txt ||
        .venv/bin/python -m pip install --require-hashes -r requirements/lock.txt
}

asked=
[ -z "${PYTHON:-}" ] || asked=$(sh tools/python.sh)
state=$(cat requirements/lock.txt requirements/uv.txt | cksum) state="$state $PWD"

if ! [ "$state" = "$(sed 1q $made 2>/dev/null)" ] ||
    ! [ "${asked:-$(sed -n 2p $made)}" = "$(sed -n 2p $made)" ] ||
    ! .venv/bin/python -c 'import uv' 2>/dev/null; then
    python=${asked:-$(sh tools/python.sh)}
    begin=$(date +%s)
    printf 'set-up: .venv with %s ... ' "$("$python" --version)"
    mkdir -p _build/logs
    rm -f $made # first: a removal that is interrupted leaves no stamp behind
    rm -rf .venv
    "$python" -m venv .venv >"$log" 2>&1 || fail "see the log"
    .venv/bin/python -m pip install --require-hashes -r requirements/uv.txt >>"$log" 2>&1 || fail "see the log"
    install_lock >>"$log" 2>&1 || fail "see the log"
    printf '%s\n%s\n' "$state" "$python" >$made
    echo "$(($(date +%s) - begin)) s"
fi

if ! [ .venv/ntkbook-installed -nt pyproject.toml ]; then
    printf 'set-up: ntkbook from this checkout ... '
    mkdir -p _build/logs
    .venv/bin/python -m uv pip install --python .venv/bin/python \
        --offline --no-deps --no-build-isolation --editable . >"$log" 2>&1 || fail "mend pyproject.toml"
    touch .venv/ntkbook-installed
    echo done
fi
