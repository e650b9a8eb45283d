#!/bin/sh
# Starts the receiving end with the runtime that came with it, as the user who calls it.
set -eu
self=$(readlink -f -- "$0")
prefix=${self%/bin/*}

# The runtime needs libatomic, which minimal systems lack; nothing else lies in this folder.
LD_LIBRARY_PATH="$prefix/runtime"
export LD_LIBRARY_PATH
# What a login shell sets for another Node must not change this one.
unset NODE_OPTIONS NODE_PATH

exec "$prefix/runtime/node" "$prefix/producer/main.ts" "$@"
