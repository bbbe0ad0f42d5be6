// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Reclaim: idle chunks of other sessions for a request that needs them.
 *
 * A chunk is idle while no block of it is issued: memory that a session merely
 * keeps for reuse. What a session's guaranteed minimum covers is never taken.
 */

#include "mmap.h"
#include "session.h"

static unsigned long mp_round;		/* of looking for victims, mp_sessions_lock */

/**
 * mp_sessions_idle() - chunks that could be taken from sessions
 * @except: the requester, whose own do not count
 *
 * Context: sleeps.
 */
unsigned long mp_sessions_idle(const struct mp_owner *except)
{
	unsigned long nr = 0;
	struct mp_session *s;

	mutex_lock(&mp_sessions_lock);
	list_for_each_entry(s, &mp_sessions, list)
		if (&s->owner != except)
			nr += mp_session_spare_idle(s);
	mutex_unlock(&mp_sessions_lock);
	return nr;
}

static unsigned long mp_new_round(void)
{
	unsigned long round;

	mutex_lock(&mp_sessions_lock);
	round = ++mp_round;
	mutex_unlock(&mp_sessions_lock);
	return round;
}

/* The session longest idle that this round has not seen, with a reference. */
static struct mp_session *mp_next_victim(const struct mp_owner *except, unsigned long round)
{
	struct mp_session *s, *victim = NULL;

	mutex_lock(&mp_sessions_lock);
	list_for_each_entry(s, &mp_sessions, list) {
		if (&s->owner == except || s->passed_over >= round || !mp_session_spare_idle(s))
			continue;
		if (!victim || time_before(READ_ONCE(s->last_used), READ_ONCE(victim->last_used)))
			victim = s;
	}
	if (victim) {
		victim->passed_over = round;
		mp_owner_get(&victim->owner);
	}
	mutex_unlock(&mp_sessions_lock);
	return victim;
}

static unsigned long mp_take_from(struct mp_session *s, unsigned long nr, bool wait)
{
	LIST_HEAD(chunks);

	if (wait ? mutex_lock_killable(&s->lock) : !mutex_trylock(&s->lock))
		return 0;
	nr = mp_session_detach_idle(s, nr, &chunks);
	s->reclaimed += nr;
	mp_session_unlock_and_hand_over(s, &chunks);
	return nr;
}

static unsigned long mp_reclaim_round(const struct mp_owner *except, unsigned long nr, bool wait)
{
	unsigned long round = mp_new_round(), taken = 0;
	struct mp_session *s;

	while (taken < nr && (s = mp_next_victim(except, round))) {
		taken += mp_take_from(s, nr - taken, wait);
		mp_owner_put(&s->owner);
	}
	return taken;
}

/**
 * mp_sessions_reclaim() - takes idle chunks from sessions, longest idle first
 * @except: the requester, who loses none; NULL: nobody
 * @nr: most to take
 *
 * Whoever is busy is passed over, and waited for only when nobody else had any.
 * The chunks go the way of every chunk given back.
 *
 * Context: sleeps; no mutex of a session is held.
 * Return: how many were taken.
 */
unsigned long mp_sessions_reclaim(const struct mp_owner *except, unsigned long nr)
{
	unsigned long taken = mp_reclaim_round(except, nr, false);

	return taken ? taken : mp_reclaim_round(except, nr, true);
}
