#!/bin/sh
# Print the newest Python 3.11, 3.12 or 3.13 on the PATH that runs and can make a virtual environment.
# PYTHON=... names one instead. Without a suitable one: one line on standard error, and status 1.
set -uf

# A name on the PATH proves nothing (a version manager's shim may fail), so each candidate is run.
# Prints e.g. "3.12 True /usr/bin/python3.12": the version, whether venv works, the program itself.
probe() {
    "$1" -c '
import importlib.util, sys
has_venv = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
print("%d.%d" % sys.version_info[:2], has_venv, getattr(sys, "_base_executable", sys.executable))
' 2>/dev/null </dev/null
}

fail() {
    echo "$1" >&2
    exit 1
}

say_venv_missing() {
    fail "Python $1 ($2) has no venv module: install it (Debian, Ubuntu: apt install python$1-venv) and try again."
}

if [ -n "${PYTHON:-}" ]; then
    found=$(probe "$PYTHON") || fail "PYTHON=$PYTHON does not run: name a Python 3.11, 3.12 or 3.13."
    read -r version has_venv program <<EOF
$found
EOF
    case $version in
        3.11 | 3.12 | 3.13) ;;
        *) fail "PYTHON=$PYTHON is Python $version: name a Python 3.11, 3.12 or 3.13." ;;
    esac
    [ "$has_venv" = True ] || say_venv_missing "$version" "$program"
    echo "$program"
    exit
fi

without_venv=
for name in python3.13 python3.12 python3.11 python3 python; do
    IFS=:
    for folder in $PATH; do
        [ -x "$folder/$name" ] || continue
        found=$(probe "$folder/$name") || continue
        IFS=' ' read -r version has_venv program <<EOF
$found
EOF
        case $version,$has_venv in
            3.11,True | 3.12,True | 3.13,True)
                echo "$program"
                exit
                ;;
            3.11,* | 3.12,* | 3.13,*) without_venv=${without_venv:-$version $program} ;;
        esac
    done
done
unset IFS

[ -z "$without_venv" ] || say_venv_missing "${without_venv%% *}" "${without_venv#* }"
fail "No Python 3.11, 3.12 or 3.13 runs here: install one, or name it (make PYTHON=/path/to/python3.13)."
