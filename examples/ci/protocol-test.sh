#!/bin/sh
# Tests a server against the TCP of a microcontroller, over a TAP, as an ordinary user.
#
# The script starts itself again as root of a user namespace with a private network: there
# it may make a TAP, which is removed when it ends.
#
#   LASTBYTE=path/to/lastbyte examples/ci/protocol-test.sh [COMMAND OF THE SERVER]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
lastbyte=${LASTBYTE:-lastbyte}
server=${1:-"python3 $here/server.py"}

if [ "${IN_OUR_NETWORK:-}" != yes ]; then
    if ! unshare --user --map-root-user --net true; then
        # A test that did not run must not count as passed.
        echo "protocol-test: NOT RUN: no user namespaces here, see: $lastbyte doctor" >&2
        [ "${CI:-}" != true ] || exit 1
        exit 0
    fi
    IN_OUR_NETWORK=yes exec unshare --user --map-root-user --net --pid --fork --kill-child \
        "$0" "$server"
fi

say() { echo "protocol-test: $*"; }
fail() {
    say "FAILED: $*" >&2
    exit 1
}

# The kernel's end of the cable is 10.0.0.1, ours is 10.0.0.2.
ip link set lo up
ip tuntap add dev tap0 mode tap
ip addr add 10.0.0.1/24 dev tap0
ip link set tap0 up

# Runs a command of the device, and checks its exit code.
# usage: device EXIT_CODE COMMAND [ARGUMENT...]
device() {
    expected=$1
    shift
    code=0
    report=$("$lastbyte" "$@" --json --tap tap0 --addr 10.0.0.2/24 10.0.0.1:5000) || code=$?
    [ "$code" = "$expected" ] || fail "$1 ended with $code in place of $expected: $report"
}

# The number of that name in the report.
count() { echo "$report" | sed "s/.*\"$1\":\([0-9]*\).*/\1/"; }

# Starts the server, and waits until it listens (port 5000 is 1388 in hexadecimal).
serve() {
    $server "$@" >&2 &
    pid=$!
    until grep -qi ':1388 .* 0A ' /proc/net/tcp; do
        kill -0 "$pid" 2>/dev/null || fail "the server does not start"
        sleep 0.05
    done
}

stop() {
    kill "$pid"
    wait "$pid" 2>/dev/null || true
}

say "ten lines, all acknowledged, all answered"
serve
device 0 heartbeat --every 20ms --message 'beat
' --count 10
[ "$(count acknowledged)" = 50 ] || fail "of 50 bytes: $report"
[ "$(count undelivered)" = 0 ] || fail "bytes are missing: $report"
# "ok 1\n" to "ok 9\n"; the tenth answer may come after the end.
[ "$(count discarded)" -ge 45 ] || fail "nine answers have 45 bytes: $report"
stop

say "after the server closes, the next beat is refused"
serve 3
device 3 heartbeat --every 20ms --message 'beat
'
[ "$(count writes_accepted)" = 3 ] || fail "three beats should have been accepted: $report"
[ "$(count writes_refused)" = 1 ] || fail "the fourth should have been refused: $report"
stop

say "there is no listener"
device 5 send </dev/null
say "passed"
