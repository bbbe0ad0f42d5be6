// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Open sessions. Each has an id, so that one that several descriptors or
 * processes share is counted once. An ordinary user sees those of processes
 * that are his; root sees in debugfs also those that no descriptor shows.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"

static struct session *session_get(struct sessions *sessions, uint64_t id)
{
	struct session *s;
	size_t i;

	for (i = 0; i < sessions->nr; i++) {
		if (sessions->session[i].id == id)
			return &sessions->session[i];
	}
	s = realloc(sessions->session, (sessions->nr + 1) * sizeof(*s));
	if (!s)
		fail(EXIT_ERROR, "out of memory");
	sessions->session = s;
	s = &s[sessions->nr++];
	memset(s, 0, sizeof(*s));
	s->id = id;
	return s;
}

/* ---- fdinfo ---- */

static struct value field(const char *text, const char *name)
{
	struct value value = { 0 };
	const char *at = strstr(text, name);
	char *end;

	if (at && at[strlen(name)] == ':') {
		at += strlen(name) + 1;
		value.number = strtoull(at, &end, 10);
		value.known = end != at;
	}
	return value;
}

static void read_command(struct session *s)
{
	char path[64], *text;
	int error;

	snprintf(path, sizeof(path), "/proc/%ld/comm", s->pid);
	text = read_file(path, &error);
	if (!text)
		return;
	text[strcspn(text, "\n")] = '\0';
	snprintf(s->command, sizeof(s->command), "%s", text);
	free(text);
}

static void session_of_fdinfo(struct sessions *sessions, long pid, const char *text)
{
	struct value id = field(text, "mempool_session");
	struct session *s;

	if (!id.known)
		return;
	s = session_get(sessions, id.number);
	s->owned = field(text, "mempool_owned_bytes");
	s->pinned = field(text, "mempool_pinned_bytes");
	s->allocated = field(text, "mempool_allocated_bytes");
	s->peak = field(text, "mempool_peak_bytes");
	s->allocations = field(text, "mempool_allocations");
	s->reused = field(text, "mempool_reused");
	s->failed = field(text, "mempool_failed");
	s->pools = field(text, "mempool_pools");
	if (!s->processes || pid < s->pid) {	/* the oldest, as a rule */
		s->pid = pid;
		read_command(s);
	}
	/* Descriptors of a process are read one after the other. */
	if (s->last_pid != pid)
		s->processes++;
	s->last_pid = pid;
}

/* Most descriptors can be told from ours by their name, which is cheaper to read. */
static bool may_be_ours(const char *pid, const char *fd)
{
	char path[600], name[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, fd);
	n = readlink(read_path(path), name, sizeof(name) - 1);
	if (n <= 0)
		return true;
	name[n] = '\0';
	return !strncmp(name, "/dev/", 5) && !strstr(name, "/pts/") && strcmp(name, "/dev/null");
}

static void read_process(struct sessions *sessions, const char *pid)
{
	char path[600], *text;
	struct dirent *entry;
	int error;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fdinfo", pid);
	dir = opendir(read_path(path));
	while (dir && (entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]) || !may_be_ours(pid, entry->d_name))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, entry->d_name);
		text = read_file(path, &error);
		if (text)
			session_of_fdinfo(sessions, atol(pid), text);
		free(text);
	}
	if (dir)
		closedir(dir);
}

static void read_processes(struct sessions *sessions)
{
	DIR *dir = opendir(read_path("/proc"));
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (isdigit((unsigned char)entry->d_name[0]))
			read_process(sessions, entry->d_name);
	}
	if (dir)
		closedir(dir);
}

/* ---- debugfs ---- */

/* What fdinfo has said is as good, and says more. */
static void session_of_line(struct sessions *sessions, const char *line)
{
	unsigned long long id, owned, pinned, allocated, idle, pools;
	struct session *s;
	unsigned int uid;
	int skip = 0;
	long pid;

	if (sscanf(line, "%llu %ld %u %llu %llu %llu %llu %llu %n", &id, &pid, &uid, &owned,
		   &pinned, &allocated, &idle, &pools, &skip) < 8 || !skip)
		return;
	s = session_get(sessions, id);
	if (s->processes)
		return;
	s->pid = pid;
	s->owned = (struct value){ owned, true };
	s->pinned = (struct value){ pinned, true };
	s->allocated = (struct value){ allocated, true };
	s->pools = (struct value){ pools, true };
	snprintf(s->command, sizeof(s->command), "%s", line + skip);
}

static void read_debugfs(struct sessions *sessions)
{
	char *line, *rest, *text;
	int error;

	text = read_file(DEBUGFS "/sessions", &error);
	sessions->all = text;
	for (rest = text; rest && (line = strsep(&rest, "\n"));)
		session_of_line(sessions, line);
	free(text);
}

/* ---- both ---- */

static int by_owned(const void *a, const void *b)
{
	const struct session *x = a, *y = b;

	if (x->owned.number != y->owned.number)
		return x->owned.number < y->owned.number ? 1 : -1;
	return x->id > y->id ? 1 : -(x->id < y->id);
}

/* The largest first. */
void sessions_read(struct sessions *sessions)
{
	size_t i;

	*sessions = (struct sessions){ 0 };
	read_processes(sessions);
	read_debugfs(sessions);
	if (sessions->nr)
		qsort(sessions->session, sessions->nr, sizeof(*sessions->session), by_owned);
	for (i = 0; i < sessions->nr; i++)
		out_clean(sessions->session[i].command);
}

void sessions_free(struct sessions *sessions)
{
	free(sessions->session);
}

const struct session *sessions_find(const struct sessions *sessions, uint64_t id)
{
	size_t i;

	for (i = 0; i < sessions->nr; i++) {
		if (sessions->session[i].id == id)
			return &sessions->session[i];
	}
	return NULL;
}
