// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * mempoolctl trim: idle chunks of all sessions go back to the reserve.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctl.h"

int command_trim(void)
{
	struct device before, after;
	int error;

	device_read(&before);
	error = read_write_file(SYSFS "/trim", "1\n");
	if (error == EACCES || error == EPERM)
		fail(EXIT_NOT_PERMITTED, "trim: only root may do this");
	if (error)
		fail(EXIT_ERROR, "%s/trim: %s", SYSFS, strerror(error));
	device_read(&after);
	printf("%" PRIu64 " chunks were idle, %" PRIu64 " are\n",
	       before.value[CHUNKS_IDLE].number, after.value[CHUNKS_IDLE].number);
	return EXIT_OK;
}
