#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0
#
# Parameters in /etc/modprobe.d, read by the modprobe of kmod: good ones are
# there when the module is, bad ones are named in the kernel's log, modprobe says
# so and exits with 1, and nothing is there. Which values are bad is tested by
# load_params.
#
# guest: --file /bin/kmod:tests/kmod --file /lib64/ld-linux-x86-64.so.2:lib64/ld-linux-x86-64.so.2 --file /lib/x86_64-linux-gnu/libc.so.6:lib/x86_64-linux-gnu/libc.so.6 --file /lib/x86_64-linux-gnu/liblzma.so.5:lib/x86_64-linux-gnu/liblzma.so.5 --file /lib/x86_64-linux-gnu/libzstd.so.1:lib/x86_64-linux-gnu/libzstd.so.1 --file /lib/x86_64-linux-gnu/libcrypto.so.3:lib/x86_64-linux-gnu/libcrypto.so.3
#
# Functions are called by name through claim, and words here have no blanks:
# shellcheck disable=SC2317,SC2086

conf=/etc/modprobe.d/mempool.conf
sys=/sys/class/misc/mempool
said=/tmp/said
n=0 failed=0

claim() {	# TEXT COMMAND...: what a failing command has said is shown
	text=$1
	shift
	n=$((n + 1))
	if "$@" >/tmp/log 2>&1; then
		echo "ok $n $text"
	else
		sed 's/^/# /' /tmp/log
		echo "not ok $n $text"
		failed=1
	fi
}

nothing_there() {
	[ ! -d /sys/module/mempool ] && [ ! -e /dev/mempool ] && [ ! -e $sys ] &&
		[ ! -e /sys/kernel/debug/mempool ]
}

refused() {	# PARAMETER VALUE
	echo "options mempool $1=$2" >$conf
	mark="options mempool $1=$2"
	echo "$mark" >/dev/kmsg
	/tests/modprobe mempool 2>$said
	status=$?
	cat $said
	echo "status $status"
	dmesg | sed "1,/$mark/d" | grep "mempool: $1=" && [ $status = 1 ] &&
		grep "could not insert 'mempool'" $said && nothing_there
}

taken() {
	echo 'options mempool reserve=32M session_limit=4M' >$conf
	/tests/modprobe mempool && [ "$(cat $sys/chunks_total)" = 16 ] && [ -c /dev/mempool ]
}

# modprobe of a module that is there does nothing: the parameters are not new.
again() {
	echo 'options mempool reserve=3M' >$conf
	/tests/modprobe mempool && [ "$(cat $sys/chunks_total)" = 16 ]
}

removed() {
	/tests/modprobe -r mempool && nothing_there
}

echo TAP version 13
echo 1..7
mkdir -p /etc/modprobe.d "/lib/modules/$(uname -r)"
cp "$MEMPOOL_KO" "/lib/modules/$(uname -r)/"
for tool in modprobe depmod; do
	ln -s /tests/kmod /tests/$tool
done
/tests/depmod -a || { echo "Bail out! depmod"; exit 1; }

claim "a reserve that is no multiple of 2M is refused" refused reserve 3M
claim "a reserve larger than the machine is refused" refused reserve 1T
claim "tiers that are none are refused" refused tiers nonsense
claim "a pool that is none is refused" refused fixed a:b
claim "good ones are taken" taken
claim "a module that is loaded stays as it is" again
claim "modprobe -r leaves nothing" removed
exit $failed
