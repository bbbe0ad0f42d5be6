// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Eats all memory, for ever: a child that is the first to be killed when there
 * is none left, and a parent that starts the next one. Ends with its parent's
 * end of the pipe at standard input.
 *
 * A second child is only there to be killed: who waits for memory while the first
 * one dies may find it gone a moment later, and have the next one killed.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE	(16 << 20)

static char *piece(void)
{
	char *ptr = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return ptr == MAP_FAILED ? NULL : memset(ptr, 1, PIECE);
}

static void be_the_first_to_be_killed(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	if (fd < 0 || write(fd, "1000", 4) != 4)
		_exit(1);
	close(fd);
}

static void eat(void)
{
	be_the_first_to_be_killed();
	for (;;)
		piece();
}

static void wait_to_be_killed(void)
{
	be_the_first_to_be_killed();
	piece();
	for (;;)
		pause();
}

/* Have a child that does it, unless there is one. */
static void have(pid_t *pid, void (*doing)(void))
{
	if (*pid > 0 && !waitpid(*pid, NULL, WNOHANG))
		return;
	*pid = fork();
	if (!*pid)
		doing();
}

int main(void)
{
	struct pollfd end = { .fd = 0, .events = POLLIN };
	pid_t eater = 0, spare = 0;

	do {
		have(&spare, wait_to_be_killed);
		have(&eater, eat);
	} while (!poll(&end, 1, 100));
	if (eater > 0)
		kill(eater, SIGKILL);
	if (spare > 0)
		kill(spare, SIGKILL);
	return 0;
}
