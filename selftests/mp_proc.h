/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Processes, users, descriptors and touches that may fault, for tests.
 *
 * A child of a test does not use the harness's macros: it runs a function whose
 * result is its exit status, 0 for success and the line number where CHECK()
 * failed otherwise (folded into 1 ... 250).
 */
#ifndef MP_PROC_H
#define MP_PROC_H

#include "mp_test.h"

#include <grp.h>
#include <sched.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define MP_USER_A	1001
#define MP_USER_B	1002

/* In a child: what must be true, or the child ends with the line's number. */
#define CHECK(cond)							\
	do {								\
		if (!(cond)) {						\
			fprintf(stderr, "# %s:%d: child: %s (errno %d)\n", \
				__FILE__, __LINE__, #cond, errno);	\
			_exit(1 + __LINE__ % 250);			\
		}							\
	} while (0)

/* Become an ordinary user for good. */
static inline int mp_become(uid_t uid)
{
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) ||
	    setresuid(uid, uid, uid))
		return -errno;
	return 0;
}

/* Open the device as user @uid, whose session it then is: fd or -errno. */
static inline int mp_open_as(uid_t uid, int flags)
{
	int fd, err;

	if (setegid(uid) || seteuid(uid))
		return -errno;
	fd = open(MP_DEV, flags | O_CLOEXEC);
	err = errno;
	if (seteuid(0) || setegid(0))
		return -errno;
	return fd < 0 ? -err : fd;
}

/* The result of an expression that is evaluated with the rights of @uid. */
#define MP_AS(uid, expression)						\
	({								\
		int __ret;						\
									\
		if (setegid(uid) || seteuid(uid))			\
			abort();					\
		__ret = (expression);					\
		if (seteuid(0) || setegid(0))				\
			abort();					\
		__ret;							\
	})

typedef int (*mp_child_fn)(void *arg);

/* Run @fn in a child process; uid 0 stays root. Returns its pid. */
static inline pid_t mp_spawn(uid_t uid, mp_child_fn fn, void *arg)
{
	pid_t pid;

	fflush(stdout);
	fflush(stderr);
	pid = fork();
	if (pid)
		return pid;
	if (uid)
		CHECK(mp_become(uid) == 0);
	_exit(fn(arg));
}

/* Its exit status, or minus the signal that ended it. */
static inline int mp_reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1000;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static inline int mp_run(uid_t uid, mp_child_fn fn, void *arg)
{
	pid_t pid = mp_spawn(uid, fn, arg);

	return pid < 0 ? -1000 : mp_reap(pid);
}

static inline int mp_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	return mp_reap(pid);
}

/* ---- two processes in step: a socket pair, one byte a step --------------- */

struct mp_link {
	int ours, theirs;
};

/* Who waits for a process that has failed waits no longer than for the rest. */
static inline int mp_link_open(struct mp_link *l)
{
	struct timeval patience = { MP_PATIENCE, 0 };
	int sv[2], i;

	l->ours = -1;
	l->theirs = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return -errno;
	for (i = 0; i < 2; i++)
		setsockopt(sv[i], SOL_SOCKET, SO_RCVTIMEO, &patience,
			   sizeof(patience));
	l->ours = sv[0];
	l->theirs = sv[1];
	return 0;
}

static inline void mp_link_close(struct mp_link *l)
{
	close(l->ours);
	close(l->theirs);
}

static inline bool mp_tell(int sock, const void *data, size_t len)
{
	return send(sock, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* Wait for @len bytes; false when they do not come. */
static inline bool mp_hear(int sock, void *data, size_t len)
{
	return recv(sock, data, len, MSG_WAITALL) == (ssize_t)len;
}

static inline bool mp_step(int sock)
{
	return mp_tell(sock, "s", 1);
}

static inline bool mp_await(int sock)
{
	char c;

	return mp_hear(sock, &c, 1);
}

static inline bool mp_send_fd(int sock, int fd)
{
	char data = 'f', ctrl[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &data, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctrl,
		.msg_controllen = sizeof(ctrl),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) == 1;
}

static inline int mp_recv_fd(int sock)
{
	char data, ctrl[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &data, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctrl,
		.msg_controllen = sizeof(ctrl),
	};
	struct cmsghdr *c;
	int fd = -1;

	if (recvmsg(sock, &msg, 0) != 1)
		return -1;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* ---- touches that may fault ---------------------------------------------- */

static __thread sigjmp_buf mp_fault_env;
static __thread volatile sig_atomic_t mp_fault_expected;

/* A fault outside of mp_touch() is what it always was: the end. */
static inline void mp_fault_handler(int sig)
{
	if (mp_fault_expected)
		siglongjmp(mp_fault_env, sig);
	signal(sig, SIG_DFL);
}

/* For all threads, once: no system call is made around a touch. */
static void __attribute__((constructor)) mp_fault_init(void)
{
	struct sigaction sa = {
		.sa_handler = mp_fault_handler,
		.sa_flags = SA_NODEFER,
	};

	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
}

/*
 * Read the byte at @p, and write @value there unless it is negative. Returns 0
 * or the signal that it raised; what was read is in *@seen if not NULL.
 */
static inline int mp_touch(volatile unsigned char *p, int value,
			   unsigned char *seen)
{
	int sig = sigsetjmp(mp_fault_env, 0);
	unsigned char c;

	if (!sig) {
		mp_fault_expected = 1;
		c = *p;
		if (seen)
			*seen = c;
		if (value >= 0)
			*p = value;
	}
	mp_fault_expected = 0;
	return sig;
}

static inline int mp_peek(const void *p)
{
	return mp_touch((unsigned char *)p, -1, NULL);
}

static inline int mp_poke(void *p, unsigned char value)
{
	return mp_touch(p, value, NULL);
}

/* How many of @len bytes are not @value. */
static inline size_t mp_count_not(const void *p, unsigned char value,
				  size_t len)
{
	const unsigned char *c = p;
	size_t i, n = 0;

	for (i = 0; i < len; i++)
		n += c[i] != value;
	return n;
}

/* Page faults of this process (minor ones) so far. */
static inline long mp_faults(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return ru.ru_minflt;
}

/* The number after "@key" in a /proc file, in its own unit; -1 if missing. */
static inline long long mp_proc_number(const char *path, const char *key)
{
	size_t len = strlen(key);
	long long v = -1;
	char line[512];
	FILE *f = fopen(path, "r");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, len)) {
			v = strtoll(line + len, NULL, 10);
			break;
		}
	fclose(f);
	return v;
}

/* Whether the running kernel has CONFIG_TRANSPARENT_HUGEPAGE. */
static inline bool mp_has_thp(void)
{
	return access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0;
}

#endif /* MP_PROC_H */
