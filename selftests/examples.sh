#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0
#
# The example programs do what they promise, and what they print says so: their
# results are compared with figures and programs that are none of theirs.
#
# guest: --disk 9M --file build/userlib/examples/fit --file build/userlib/examples/simulate --file build/userlib/examples/pipeline
#
# Functions are called by name through claim; $buffered may be no word at all:
# shellcheck disable=SC2317,SC2086

bin=${EXAMPLES:-/tests}
disk=${DISK:-/dev/nvme0n1}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
n=0 failed=0

# On two nodes the kernel unmaps a program's stack now and then to see who uses it:
# faults that have nothing to do with the pool.
balancing=/proc/sys/kernel/numa_balancing
[ ! -w $balancing ] || echo 0 >$balancing

# claim TEXT COMMAND...: one test; what a failing command has said is shown.
claim() {
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

# run NAME COMMAND...: keep output and status as $tmp/NAME and $tmp/NAME.status.
run() {
	name=$1
	shift
	"$@" >"$tmp/$name" 2>"$tmp/$name.err"
	echo $? >"$tmp/$name.status"
	sed 's/^/# /' "$tmp/$name" "$tmp/$name.err"
}

status_is() {
	cat "$tmp/$1.err"
	[ "$(cat "$tmp/$1.status")" = "$2" ]
}

says() {	# NAME PATTERN: a line that matches in full
	grep -x "$2" "$tmp/$1"
}

# A file's line by the words that it begins with, and the number after them.
figure() {
	sed -n "s/^$2  *\([0-9.]*\).*/\1/p" "$tmp/$1"
}

compare() {	# NUMBER OPERATOR NUMBER
	echo "$1 $2 $3?"
	[ -n "$1" ] && awk "BEGIN { exit !($1 $2 $3) }"
}

echo TAP version 13
echo 1..24
if [ -n "$MEMPOOL_KO" ]; then
	insmod "$MEMPOOL_KO" reserve=64M || { echo "Bail out! insmod"; exit 1; }
fi

# ---- fit --------------------------------------------------------------------

# 24 sets are fitted from both starting points, three only from the near one.
certified() {
	awk '{ for (i = 2; i <= NF; i++) if ($i == "digits," && $(i - 1) >= 6) k++ }
		END { print k " fits with 6 digits or more"; exit k != 51 }' "$tmp/fit"
}

run fit "$bin/fit"
claim "fit: every promise is kept" status_is fit 0
claim "fit: 51 fits reach NIST's parameters to 6 digits" certified
claim "fit: the program counts the same fits" says fit \
	"51 fits of 27 sets: certified parameters to at least 6 digits: yes"
claim "fit: no page fault in the steady state" \
	compare "$(figure fit 'page faults in the steady state')" == 0
claim "fit: at least 90 % of allocations reuse memory" \
	compare "$(figure fit 'reuse rate, whole run')" ">=" 90
claim "fit: it did not just allocate a few times" \
	compare "$(figure fit 'allocations, whole run')" ">" 10000

# ---- simulate ---------------------------------------------------------------

run simulate "$bin/simulate"
claim "simulate: every promise is kept" status_is simulate 0
claim "simulate: the pool is driven to 100 %" says simulate \
	" *0 *0 *40 *100.0 %  *0.0 %  *[0-9]*"
claim "simulate: it ends with every block free" says simulate \
	" *[0-9]*  *400  *0  *0.0 %  *0.0 %  *[0-9]*"
claim "simulate: the pool has coalesced by itself" \
	compare "$(awk '$2 == 400 { print $NF }' "$tmp/simulate")" ">" 0
claim "simulate: energy is kept" \
	compare "$(awk '/^energy kept/ { print $4 }' "$tmp/simulate")" "<" 1e-6

# ---- pipeline ---------------------------------------------------------------

same_hash() {	# OPTIONS... FILE
	for f; do :; done
	want=$(sha256sum "$f")
	got=$("$bin/pipeline" "$@") || return 1
	echo "pipeline $*: $got, sha256sum: $want"
	[ "$got" = "$want" ]
}

all_tails() {
	dd if=/dev/urandom of="$tmp/data" bs=140000 count=1 2>/dev/null
	for size in 0 1 55 56 64 511 512 513 4095 4096 4097 65535 65536 65537 131072 139999; do
		head -c "$size" "$tmp/data" >"$dir/tail"
		sync
		same_hash $buffered --block-size=65536 "$dir/tail" || return 1
	done
}

abc_digest() {
	"$bin/pipeline" $buffered "$dir/abc" |
		grep "^ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad "
}

reads_directly() {
	"$bin/pipeline" --verbose "$disk" 2>&1 |
		grep "9437184 bytes in 36 messages by O_DIRECT; 36 blocks adopted, 8 of 8 free"
}

dd if=/dev/urandom of="$disk" bs=1M count=9 2>/dev/null
claim "pipeline: SHA-256 of a disk" same_hash "$disk"
claim "pipeline: a disk that ends within a block" same_hash --block-size=1228800 "$disk"
claim "pipeline: two blocks are enough" same_hash --blocks=2 "$disk"
claim "pipeline: each block is read by O_DIRECT and adopted" reads_directly

run crash "$bin/pipeline" --crash "$disk"
claim "pipeline --crash: every promise is kept" status_is crash 0
claim "pipeline --crash: tokens of the dead are refused with ESTALE" says crash \
	"kept:   each of the 7 tokens of the dead is refused with ESTALE (7 of 7)"
claim "pipeline --crash: nothing is lost" says crash \
	"kept:   in the end all 8 blocks are free"

# Files, on a file system that has O_DIRECT where this kernel knows one.
dir=$tmp buffered=
if [ -b "$disk" ] && mke2fs "$disk" >/dev/null 2>&1 && mkdir "$tmp/mnt" &&
	mount -t ext4 "$disk" "$tmp/mnt" 2>/dev/null; then
	dir=$tmp/mnt
	trap 'umount "$tmp/mnt"; rm -rf "$tmp"' EXIT
fi
printf abc >"$dir/abc"
"$bin/pipeline" "$dir/abc" 2>&1 | grep -q "no O_DIRECT" && buffered=--buffered
echo "# files are read from $(stat -f -c %T "$dir") ${buffered:-by O_DIRECT}"

claim "pipeline: FIPS 180-4's example" abc_digest
claim "pipeline: files of every kind of length" all_tails

run absent "$bin/pipeline" "$tmp/no-such-file"
claim "pipeline: a file that is not there is an error" status_is absent 2

# ---- options ----------------------------------------------------------------

each_ends_with() {	# STATUS OPTION
	for program in fit simulate pipeline; do
		"$bin/$program" "$2" "$dir/abc"
		status=$?
		echo "$program $2: status $status"
		[ $status = "$1" ] || return 1
	done
}

no_device() {
	for arguments in fit simulate "pipeline $buffered $dir/abc"; do
		"$bin/"$arguments --device=/dev/null/none && return 1
		[ $? = 2 ] || return 1
	done
}

claim "all: --help is no error" each_ends_with 0 --help
claim "all: an unknown option is one" each_ends_with 2 --unknown
claim "all: a device that is not there is one" no_device

exit $failed
