#!/usr/bin/env bash
# Sets up what the tests need and runs all that this machine can run; arguments go to pytest.
source "$(dirname "$0")/setup.sh" requirements-dev.lock
exec python -m pytest "$@"
