#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0
#
# mempoolctl on a real device: what it says is what sysfs, fdinfo and debugfs say,
# for root and for an ordinary user. How it prints is tested by
# selftests/check/mempoolctl, on recorded trees.
#
# guest: --file build/userlib/mempoolctl-static:tests/mempoolctl --file build/selftests/tool/hold
#
# Functions are called by name through claim, and words here have no blanks:
# shellcheck disable=SC2317,SC2086

ctl=/tests/mempoolctl
sys=/sys/class/misc/mempool
tmp=$(mktemp -d) || exit 1
chmod 755 "$tmp"
n=0 failed=0

claim() {	# TEXT COMMAND...: what a failing command has said is shown
	text=$1
	shift
	n=$((n + 1))
	if "$@" >"$tmp/said" 2>&1; then
		echo "ok $n $text"
	else
		sed 's/^/# /' "$tmp/said"
		echo "not ok $n $text"
		failed=1
	fi
}

exits() {	# STATUS COMMAND...
	want=$1
	shift
	"$@"
	got=$?
	echo "$*: status $got, expected $want"
	[ $got = "$want" ]
}

as_nobody() {
	su nobody -s /bin/sh -c "$*"
}

# A figure of JSON, whose writer puts each on a line of its own.
figure() {	# NAME COMMAND...
	name=$1
	shift
	"$@" | sed -n "s/^ *\"$name\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p"
}

hold() {	# LOG ARG...: a process that holds memory; its number in $holder
	log=$1
	shift
	/tests/hold "$@" >"$log" 2>&1 &
	holder=$!
	while ! grep -q ready "$log"; do
		kill -0 $holder 2>/dev/null || { cat "$log"; return 1; }
		sleep 0.1
	done
}

echo TAP version 13
echo 1..26

mkdir -p /etc
echo root:x:0:0:root:/root:/bin/sh >/etc/passwd
echo nobody:x:65534:65534:nobody:/:/bin/sh >>/etc/passwd

# ---- without a module -------------------------------------------------------

for command in status top map pools watch trim suggest; do
	claim "no module: $command says so and exits with 3" exits 3 $ctl $command
done

insmod "$MEMPOOL_KO" reserve=64M || { echo "Bail out! insmod"; exit 1; }
chmod 666 /dev/mempool

# ---- figures ----------------------------------------------------------------

hold "$tmp/one" 1000000 5 seen 5000 20 7
one=$holder
as_nobody /tests/hold 100000 3 >"$tmp/two" 2>&1 &
while ! grep -q ready "$tmp/two"; do sleep 0.1; done

same_as_sysfs() {
	for f in reserve_bytes chunks_huge chunks_small chunks_idle chunks_peak sessions \
		new_allocations currently_allocated current_bytes; do
		want=$(cat $sys/$f)
		got=$(figure $f $ctl status --json)
		echo "$f: $got, sysfs $want"
		[ -n "$want" ] && [ "$got" = "$want" ] || return 1
	done
	[ "$(figure currently_allocated $ctl status --json)" -ge 8 ]
}

states_sum_up() {
	sum=0
	for s in free owned leaving pinned cleaning retired; do
		sum=$((sum + $(figure $s $ctl status --json)))
	done
	[ $sum = "$(cat $sys/chunks_total)" ]
}

top_line() {	# PID WHO...: its line of top
	pid=$1
	shift
	"$@" | awk -v pid="$pid" '$1 == pid'
}

# Five blocks of 1 MB and the tables around them: at least 5 MiB, three chunks.
holder_is_in_top() {
	top_line $one $ctl top | tee "$tmp/line"
	grep -q 'hold$' "$tmp/line" && [ "$(awk '{ print $10 }' "$tmp/line")" = 1 ]
}

owned_is_fdinfo() {
	want=$(awk '/^mempool_owned_bytes/ { print $2 }' /proc/$one/fdinfo/* | sort -n | tail -n 1)
	$ctl top --json >"$tmp/json"
	got=$(awk -v pid="\"pid\": $one," 'index($0, pid) { found = 1 }
		found && /owned_bytes/ { gsub(/[^0-9]/, ""); print; exit }' "$tmp/json")
	echo "owned $got, fdinfo $want"
	[ -n "$want" ] && [ "$got" = "$want" ]
}

pool_is_listed() {
	$ctl pools | tee "$tmp/pools"
	grep -q '20  *7  *35.0%.* seen$' "$tmp/pools"
}

map_is_debugfs() {
	$ctl map --json >"$tmp/map"
	for s in free owned; do
		want=$(awk -v s=$s '$2 == s' /sys/kernel/debug/mempool/chunks | wc -l)
		got=$(grep -c "\"state\": \"$s\"" "$tmp/map")
		echo "$s: $got, debugfs $want"
		[ "$want" -gt 0 ] && [ "$got" = "$want" ] || return 1
	done
}

map_names_owners() {
	COLUMNS=100 $ctl map | tee "$tmp/map"
	grep -q "session [0-9]*: hold, pid $one: [0-9]* chunks" "$tmp/map" &&
		grep -q 'named pool seen: 1 chunks' "$tmp/map" &&
		head -n 1 "$tmp/map" | grep -q '^[A-Za-z.~]\{32\}$'
}

unseen_session() {	# a mapping without a descriptor: debugfs alone shows it
	$ctl top --json >"$tmp/json"
	grep -q '"complete": true' "$tmp/json"
}

claim "status: the figures of sysfs" same_as_sysfs
claim "status: six states that sum to the reserve" states_sum_up
claim "top: who holds how much" holder_is_in_top
claim "top: owned bytes are those of fdinfo" owned_is_fdinfo
claim "top: root's list is complete" unseen_session
claim "pools: size, issued blocks, efficiency" pool_is_listed
claim "map: as many chunks of each state as debugfs lists" map_is_debugfs
claim "map: owners by name" map_names_owners
claim "status --prometheus: the pool's metric" sh -c \
	"$ctl status --prometheus | grep -qx 'mempool_pool_issued_blocks{pool=\"seen\"} 7'"
claim "watch: as many lines as asked for" sh -c \
	"[ \"\$($ctl watch -n 2 -d 0.1 | wc -l)\" = 3 ]"
claim "suggest: a line that names the reserve and the kept pool" sh -c \
	"$ctl suggest | grep -q '^options mempool reserve=[0-9]*M fixed=seen:5000x20:0660'"

suggestion_loads() {
	line=$($ctl suggest | sed -n 's/^options mempool //p')
	# shellcheck disable=SC2046 # numbers
	kill $(pidof hold)
	for _ in $(seq 100); do	# once they are gone
		rmmod mempool && break
		sleep 0.1
	done
	echo "insmod $line" && eval "insmod \$MEMPOOL_KO $line"
}

# ---- an ordinary user -------------------------------------------------------

others_are_not_seen() {
	as_nobody $ctl top | tee "$tmp/top"
	grep -q 'hold$' "$tmp/top" && [ -z "$(top_line $one cat "$tmp/top")" ]
}

map_by_state() {
	as_nobody $ctl map | tee "$tmp/map"
	grep -q "by state: root sees" "$tmp/map"
}

claim "a user: status" exits 0 as_nobody $ctl status
claim "a user: top shows his sessions, not root's" others_are_not_seen
claim "a user: map without owners" map_by_state
claim "a user: trim is refused with 4" exits 4 as_nobody $ctl trim

# ---- changing ---------------------------------------------------------------

trims() {
	exits 0 $ctl trim && [ "$(cat $sys/chunks_idle)" = 0 ]
}

dies_meanwhile() {
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		/tests/hold 1000 1 >/dev/null &
		killed=$!
		kill -KILL $killed &
		$ctl top >/dev/null || return 1
		wait $killed
	done
	return 0
}

claim "trim: no idle chunk is left" trims
claim "top: sessions that die while they are read" dies_meanwhile
claim "suggest: the module takes what was suggested" suggestion_loads
claim "suggest: the pool is there again" [ -d $sys/pools/seen ]

rm -rf "$tmp"
exit $failed
