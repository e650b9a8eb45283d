#!/bin/sh
# Starts Kakehashi with the runtime that came with it. The folder may lie anywhere; /usr/bin holds a link to this file.
set -eu
self=$(readlink -f -- "$0")
prefix=${self%/bin/*}

# The runtime needs libatomic, which minimal systems lack; nothing else lies in this folder.
LD_LIBRARY_PATH="$prefix/runtime"
# The service is given the site key by systemd. Who calls a command by hand finds it under the same name.
CREDENTIALS_DIRECTORY=${CREDENTIALS_DIRECTORY:-/etc/kakehashi}
export LD_LIBRARY_PATH CREDENTIALS_DIRECTORY
# What a login shell sets for another Node must not change this one.
unset NODE_OPTIONS NODE_PATH NODE_COMPILE_CACHE
# The service's own folder for compiled code, and two allocation arenas: see agent/base/relaunch.ts.
if [ -n "${CACHE_DIRECTORY:-}" ]; then
  NODE_COMPILE_CACHE=$CACHE_DIRECTORY
  MALLOC_ARENA_MAX=2
  export NODE_COMPILE_CACHE MALLOC_ARENA_MAX
fi

# Young garbage in 2 MiB instead of 16: the frames of a 2 GB image then take 200 MB at their peak and not 270.
set -- "$prefix/runtime/node" --max-semi-space-size=2 "$prefix/agent/main.ts" "$@"
# A file that root made in the state folder would be closed to the service.
if [ "$(id -u)" = 0 ] && id -u kakehashi >/dev/null 2>&1; then
  exec setpriv --reuid=kakehashi --regid=kakehashi --init-groups -- "$@"
fi
exec "$@"
