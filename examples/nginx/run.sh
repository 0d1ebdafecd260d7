#!/bin/sh
# Makes the configuration and becomes nginx. A release is read-only, so what nginx writes goes to a directory that is
# the same for each instance in its turn, and nobody else's.
set -eu
release=$(pwd)
run="${TMPDIR:-/tmp}/$CUTOVER_SERVICE-$CUTOVER_STATE_ID-$CUTOVER_ENVIRONMENT-${CUTOVER_INSTANCE##*-}"
mkdir -p -m 700 "$run"
if [ ! -O "$run" ] || [ -L "$run" ]; then
    echo "$run belongs to somebody else" >&2
    exit 1
fi
mkdir -p "$run/temp"
sed -e "s|@PORT@|$PORT|g" -e "s|@RUN@|$run|g" -e "s|@RELEASE@|$release|g" -e "s|@VERSION@|$CUTOVER_VERSION|g" \
    nginx.conf.template > "$run/nginx.conf"
PATH=$PATH:/usr/sbin:/usr/local/sbin
nginx -t -q -e stderr -p "$run" -c "$run/nginx.conf"
exec nginx -e stderr -p "$run" -c "$run/nginx.conf"
