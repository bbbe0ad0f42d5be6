#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0
#
# The part of the benchmarks that needs the device, in the guest. ROUNDS and
# SAMPLES are the driver's. The plans are in /tests.

set -e
export TERM=dumb	# progress in lines of its own
rounds=$1
samples=$2

plan() {	# NAME: what the guest's kernel has
	sed -e "$([ -e /dev/udmabuf ] || echo 's/ udmabuf//g')" \
		-e "$([ -e /dev/dma_heap/system ] || echo 's/ dma-heap//g')" "/tests/$1.plan"
}

drive() {	# NAME ROUNDS SAMPLES
	plan "$1" >"/tmp/$1.plan"
	/tests/driver --rounds "$2" --samples "$3" --ms 10 --where guest "/tmp/$1.plan" || rc=1
}

rc=0
drive load 3 3
# As natively, the caches are to hold a burst of 64 blocks of 1 MiB.
insmod "$MEMPOOL_KO" reserve=1G
drive guest "$rounds" "$samples"
# A pipe that stays open until the eater is to end.
mkfifo /tmp/stop
/tests/eater </tmp/stop &
exec 4>/tmp/stop
sleep 5
drive pressure 3 1
exec 4>&-
wait
exit $rc
