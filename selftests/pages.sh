#!/bin/sh
# SPDX-License-Identifier: MIT OR GPL-2.0
#
# The example in each page (README, manuals) does what it says: it ends with 0.
# selftests/check/run sees that every page with an example is listed here.
#
# guest: --file build/pages/page_README --file build/pages/page_mempool --file build/pages/page_mempool_adopt_block --file build/pages/page_mempool_alloc --file build/pages/page_mempool_blocks_create --file build/pages/page_mempool_coalesce --file build/pages/page_mempool_get_block --file build/pages/page_mempool_get_stats --file build/pages/page_mempool_open --file build/pages/page_mempool_trim

n=0 failed=0
echo TAP version 13
echo "1..$(printf '%s\n' /tests/page_* | wc -l)"
insmod "$MEMPOOL_KO" reserve=64M || { echo "Bail out! insmod"; exit 1; }
for page in /tests/page_*; do
	n=$((n + 1))
	if "$page" >/tmp/said 2>&1; then
		echo "ok $n the example of ${page#/tests/page_}"
	else
		echo "# status $?"
		sed 's/^/# /' /tmp/said
		echo "not ok $n the example of ${page#/tests/page_}"
		failed=1
	fi
done
exit $failed
