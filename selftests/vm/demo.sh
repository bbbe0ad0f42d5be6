#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0
#
# What make demo runs in the guest. Stops at the first thing that fails.

set -e

show() {
	echo
	echo "\$ $*"
	"$@"
}

echo "Linux $(uname -r), $(nproc) processors, no /dev/mempool yet."
show insmod "$MEMPOOL_KO" reserve=128M
show ls -l /dev/mempool
mount -t ext4 -o ro /dev/nvme0n1 /mnt

echo
echo "--- pipeline: one process reads the kernel this guest booted from its disk"
echo "    straight into blocks, another hashes it where it lies"
show /tests/pipeline --verbose /mnt/vmlinuz | tee /tmp/hash
show sha256sum /mnt/vmlinuz
want=$(sha256sum </mnt/vmlinuz)
grep -q "${want%% *}" /tmp/hash
show /tests/pipeline --crash /mnt/vmlinuz

echo
echo "--- fit: certified least squares problems, all arrays from the pool"
show /tests/fit

echo
echo "--- simulate: batches of pendulums on a private block pool"
show /tests/simulate

echo
echo "--- what the device says now, in /sys/class/misc/mempool"
cd /sys/class/misc/mempool/
for f in *; do
	case $f in
	dev | uevent | power | subsystem) ;;
	*)
		# What can only be written says nothing.
		if [ -f "$f" ] && value=$(cat "$f" 2>/dev/null); then
			printf '%-28s %s\n' "$f" "$value"
		fi
		;;
	esac
done
