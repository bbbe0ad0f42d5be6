// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Eats all memory, for ever: a child that is the first to be killed when there
 * is none left, and a parent that starts the next one. Ends with its parent's
 * end of the pipe at standard input.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE	(16 << 20)

static void eat(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	if (fd < 0 || write(fd, "1000", 4) != 4)
		_exit(1);
	for (;;) {
		char *ptr = mmap(NULL, PIECE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (ptr != MAP_FAILED)
			memset(ptr, 1, PIECE);
	}
}

int main(void)
{
	struct pollfd end = { .fd = 0, .events = POLLIN };
	pid_t pid;

	do {
		pid = fork();
		if (!pid)
			eat();
		while (pid > 0 && !waitpid(pid, NULL, WNOHANG))
			if (poll(&end, 1, 100)) {
				kill(pid, SIGKILL);
				return 0;
			}
	} while (!poll(&end, 1, 0));
	return 0;
}
