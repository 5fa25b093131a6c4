#!/bin/sh
# The suite's agent; its words are described in the suite.
word=${1:-serve}
[ $# -gt 0 ] && shift
case $word in
serve)
    trap 'exit 0' TERM INT
    for port in 3000 3001; do httpd -f -p $port -h /www/$port & done
    while :; do
        sleep 3600 &
        wait $!
    done
    ;;
ignore-term)
    trap '' TERM
    echo ready
    while :; do sleep 1; done
    ;;
sleep) exec sleep "$1" ;;
echo) echo "$*" ;;
err) echo "$*" >&2 ;;
cat) exec cat ;;
env) exec env ;;
exit) exit "$1" ;;
log)
    n=1
    while [ $n -le "$1" ]; do
        if [ $((n % 2)) -eq 1 ]; then echo "line $n"; else echo "line $n" >&2; fi
        [ -n "$2" ] && usleep $(($2 * 1000))
        n=$((n + 1))
    done
    [ -n "$2" ] && exec sleep 600
    exit 0
    ;;
*)
    echo "agent: unknown word $word" >&2
    exit 2
    ;;
esac
