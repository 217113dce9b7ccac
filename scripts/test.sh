#!/usr/bin/env bash
# Sets up what the tests need and runs all that this machine can run, two files at a time; arguments go to pytest (-n 0:
# one at a time, for a debugger).
source "$(dirname "$0")/setup.sh" requirements-dev.lock
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # threads of two processes that wait for each other's cores cost more than they win
exec python -m pytest -n 2 --dist loadfile "$@"
