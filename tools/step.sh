#!/bin/sh
# Run one step of a make target: one line on the terminal, all output in _build/logs/NAME.log.
#     step.sh NAME ADVICE COMMAND...
# When the command fails, show the end of its log (or only the lines that match $SHOW) and ADVICE.
set -u
name=$1 advice=$2
shift 2
log=_build/logs/$(printf %s "$name" | tr -c 'a-z' -).log
mkdir -p _build/logs
begin=$(date +%s)

printf '%s ... ' "$name"
if "$@" >"$log" 2>&1; then
    echo "$(($(date +%s) - begin)) s"
    tail -n 1 "$log" | grep -E '[0-9]+ passed' # what a test runner says last
    exit 0
fi
echo failed
{
    grep -E "${SHOW:-}" "$log" || cat "$log"
} | tail -n 40 >&2
echo "$name failed: $advice (all output: $log)" >&2
exit 1
