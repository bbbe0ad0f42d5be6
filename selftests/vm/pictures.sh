#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0
#
# What make pictures runs in the guest: programs that hold memory, and what
# mempoolctl says of them.

set -e
insmod "$MEMPOOL_KO" reserve=256M fixed=packets:2048x4096:0660

holder() {	# NAME ARG...: the program hold under that name, until it is ready
	name=$1
	shift
	cp /tests/hold "/tmp/$name"
	"/tmp/$name" "$@" >"/tmp/$name.log" 2>&1 &
	while ! grep -q ready "/tmp/$name.log"; do
		kill -0 $! || exit 1
		sleep 0.1
	done
}

holder solver 85000 400
holder camera 300000 4 frames 6220800 8 5
holder indexer 1000 900
holder encoder 1500000 14
holder player 700000 3

export COLUMNS=96
echo 'begin top'
echo '$ mempoolctl top'
/tests/mempoolctl top | cat	# not on a terminal: no colours
echo 'end top'
echo 'begin map'
/tests/mempoolctl map --svg | cat
echo 'end map'
