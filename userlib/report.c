// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What checked mode says. Addresses are named by dladdr(), which knows the
 * symbols that a program exports; addr2line knows the rest. Nothing is
 * allocated here: the heap may be what is broken.
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* As backtrace_symbols() writes it: file(symbol+offset) [address]. */
static void name_address(char *to, size_t len, const void *addr)
{
	const char *file, *symbol;
	uintptr_t from;
	Dl_info info;

	/* It is where the call returns to: what lies before is the call. */
	if (!addr || !dladdr((const char *)addr - 1, &info) || !info.dli_fname) {
		snprintf(to, len, "[%p]", addr);
		return;
	}
	file = strrchr(info.dli_fname, '/');
	symbol = info.dli_sname ? info.dli_sname : "";
	from = (uintptr_t)(info.dli_sname ? info.dli_saddr : info.dli_fbase);
	snprintf(to, len, "%s(%s+%#zx) [%p]", file ? file + 1 : info.dli_fname, symbol,
		 (size_t)((uintptr_t)addr - from), addr);
}

static void say(const char *text)
{
	size_t len = strlen(text);
	ssize_t n;

	while (len) {
		n = write(STDERR_FILENO, text, len);
		if (n <= 0)
			return;
		text += n;
		len -= n;
	}
}

/* One line of a message: "mempool:   @what FILE(SYMBOL+OFFSET) [ADDRESS]". */
void mp_report_caller(const char *what, const void *caller)
{
	char name[256], line[320];
	int saved = errno;

	name_address(name, sizeof(name), caller);
	snprintf(line, sizeof(line), "mempool:   %s %s\n", what, name);
	say(line);
	errno = saved;
}

/* The first lines: "mempool: CALL(@ptr): ...", and who has called. */
void mp_report(const struct mp_call *call, const void *ptr, const char *format, ...)
{
	char text[256], line[320];
	int saved = errno;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(line, sizeof(line), "mempool: %s(%p): %s\n", call->name, ptr, text);
	say(line);
	errno = saved;
	mp_report_caller("called by", call->caller);
}

/* The last: abort unless the program is to go on. */
void mp_report_end(bool go_on)
{
	if (go_on)
		return;
	mp_tools_trace();
	abort();
}
