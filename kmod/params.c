// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The module's parameters. A bad value is named in the log with the reason, and
 * the module does not load.
 */

#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/kstrtox.h>
#include <linux/module.h>
#include <linux/string.h>

#include "params.h"

#define MP_MAX_RESERVE	(1ull << 44)	/* 16 TiB: more is a slip of the pen */

static char *reserve = "64M";
module_param(reserve, charp, 0444);
MODULE_PARM_DESC(reserve, "memory preallocated, bytes with suffix K, M, G or T; a multiple of 2M (default 64M)");

static char *fixed = "";
module_param(fixed, charp, 0444);
MODULE_PARM_DESC(fixed, "named block pools to make: name:sizexcount[:mode][,...]; mode 0600, 0660 or 0666 (default 0666)");

static char *tiers = "";
module_param(tiers, charp, 0444);
MODULE_PARM_DESC(tiers, "rounding of sizes: below:granularity,...,max:granularity (default 10K:1K,100K:10K,max:100K)");

static char *session_limit = "0";
module_param(session_limit, charp, 0444);
MODULE_PARM_DESC(session_limit, "most that a session may own, bytes with suffix; 0: no limit (default 0)");

static char *user_limit = "0";
module_param(user_limit, charp, 0444);
MODULE_PARM_DESC(user_limit, "most that all sessions and named pools of a user may own, bytes with suffix; 0: the reserve (default 0)");

static char *max_sessions = "1024";
module_param(max_sessions, charp, 0444);
MODULE_PARM_DESC(max_sessions, "most sessions open at a time; a user gets as many as he leaves for others (default 1024)");

static char *spare = "0";
module_param(spare, charp, 0444);
MODULE_PARM_DESC(spare, "most pinned chunks that may be replaced by fresh memory at a time (default 0)");

static int mp_refuse(const char *name, const char *value, const char *reason)
{
	pr_err("%s=: '%.64s': %s\n", name, value, reason);
	return -EINVAL;
}

/**
 * mp_parse_bytes() - reads a whole number with an optional suffix K, M, G or T
 * @text: nothing else may follow but a newline
 * @bytes: set on success
 *
 * Return: 0, or -EINVAL, also when it does not fit.
 */
int mp_parse_bytes(const char *text, u64 *bytes)
{
	const char *suffix = text + strspn(text, "0123456789");
	unsigned int shift = 0;
	char digits[24];
	u64 value;

	if (suffix == text || suffix - text >= sizeof(digits))
		return -EINVAL;
	strscpy(digits, text, suffix - text + 1);
	if (kstrtou64(digits, 10, &value))
		return -EINVAL;
	if (*suffix && *suffix != '\n') {
		const char *unit = strchr("kmgt", tolower(*suffix++));

		if (!unit)
			return -EINVAL;
		shift = 10 * (unit - "kmgt" + 1);
	}
	if ((*suffix && strcmp(suffix, "\n")) || value > U64_MAX >> shift)
		return -EINVAL;
	*bytes = value << shift;
	return 0;
}

static int mp_parse_limit(const char *name, const char *text, u64 *bytes)
{
	if (mp_parse_bytes(text, bytes))
		return mp_refuse(name, text, "not a number of bytes");
	if (*bytes && *bytes < MEMPOOL_CHUNK_SIZE)
		return mp_refuse(name, text, "less than one chunk of 2M");
	return 0;
}

static int mp_parse_count(const char *name, const char *text, unsigned long least,
			  unsigned long *count)
{
	if (kstrtoul(text, 10, count))
		return mp_refuse(name, text, "not a number");
	if (*count < least)
		return mp_refuse(name, text, "too small");
	return 0;
}

static int mp_parse_reserve(u64 *bytes)
{
	if (mp_parse_bytes(reserve, bytes))
		return mp_refuse("reserve", reserve, "not a number of bytes");
	if (!*bytes || *bytes % MEMPOOL_CHUNK_SIZE)
		return mp_refuse("reserve", reserve, "not a positive multiple of 2M");
	if (*bytes > MP_MAX_RESERVE)
		return mp_refuse("reserve", reserve, "more than 16T");
	return 0;
}

/* below:granularity; "max" in place of the last below. */
static int mp_parse_tier(char *text, struct mempool_tier *tier)
{
	char *below = strsep(&text, ":");

	if (!text)
		return -EINVAL;
	if (!strcmp(below, "max"))
		tier->below = MEMPOOL_TIER_END;
	else if (mp_parse_bytes(below, &tier->below) || tier->below == MEMPOOL_TIER_END)
		return -EINVAL;
	return mp_parse_bytes(text, &tier->granularity);
}

static int mp_parse_tier_list(char *rest, struct mp_tiers *parsed)
{
	char *one;

	*parsed = (struct mp_tiers){};
	while ((one = strsep(&rest, ","))) {
		if (parsed->nr == MEMPOOL_MAX_TIERS ||
		    mp_parse_tier(strim(one), &parsed->tier[parsed->nr++]))
			return -EINVAL;
	}
	return mp_tiers_check(parsed);
}

static int mp_parse_tiers(struct mp_tiers *parsed)
{
	char *copy;
	int err;

	if (!*tiers) {
		*parsed = mp_default_tiers;
		return 0;
	}
	copy = kstrdup(tiers, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	err = mp_parse_tier_list(copy, parsed);
	kfree(copy);
	if (err)
		return mp_refuse("tiers", tiers,
				 "expected below:granularity,...,max:granularity, rising, at most 16");
	return 0;
}

/**
 * mp_params_parse() - checks the module's parameters
 * @params: filled in
 *
 * Context: sleeps.
 * Return: 0; -EINVAL, said in the log; -ENOMEM.
 */
int mp_params_parse(struct mp_params *params)
{
	int err;

	err = mp_parse_reserve(&params->reserve);
	if (!err)
		err = mp_parse_tiers(&params->tiers);
	if (!err)
		err = mp_parse_limit("session_limit", session_limit, &params->session_limit);
	if (!err)
		err = mp_parse_limit("user_limit", user_limit, &params->user_limit);
	if (!err)
		err = mp_parse_count("max_sessions", max_sessions, 1, &params->max_sessions);
	if (!err)
		err = mp_parse_count("spare", spare, 0, &params->spare);
	params->fixed = fixed;
	return err;
}
