/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Owners of chunks and the users they are charged to.
 *
 * An owner is a session or a named block pool. A chunk is charged to its owner,
 * and to the user behind it, from the moment it is taken until nothing refers
 * to it any more: a chunk that was given back pinned stays charged to the giver,
 * whose owner structure lives as long as such a chunk does.
 *
 * Counts of chunks are protected by the arena's lock.
 */
#ifndef MP_OWNER_H
#define MP_OWNER_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/uidgid.h>

/**
 * struct mp_user - one user of the machine, as far as mempool is concerned
 * @list: in the list of users, under its lock
 * @uid: in the initial user namespace; immutable
 * @ref: sessions and pools of this user; the last put frees, under the list's lock
 * @chunks: chunks charged, arena lock
 * @sessions: open ones, lock of the list of sessions
 */
struct mp_user {
	struct list_head list;
	kuid_t uid;
	unsigned int ref;
	unsigned long chunks;
	unsigned long sessions;
};

enum mp_owner_kind {
	MP_OWNER_SESSION,
	MP_OWNER_POOL,
};

/**
 * struct mp_owner - who a chunk belongs to
 * @ref: the session or pool itself, and each chunk charged
 * @kind: immutable
 * @id: immutable; sessions and pools number from one sequence
 * @user: charged with the same chunks; NULL: nobody (the module's own pools)
 * @limit: most chunks charged at a time; 0: none. Arena lock
 * @owned: chunks in state owned or leaving; arena lock
 * @pinned: chunks given back but still referred to; arena lock
 * @user_refused: its latest charge was refused for its user's limit, not its own;
 *	arena lock, read without
 * @release: frees the whole structure; may sleep
 */
struct mp_owner {
	struct kref ref;
	enum mp_owner_kind kind;
	u64 id;
	struct mp_user *user;
	unsigned long limit;
	unsigned long owned;
	unsigned long pinned;
	bool user_refused;
	void (*release)(struct mp_owner *owner);
};

struct mp_user *mp_user_get(kuid_t uid);
void mp_user_put(struct mp_user *user);

void mp_owner_init(struct mp_owner *owner, enum mp_owner_kind kind, struct mp_user *user,
		   void (*release)(struct mp_owner *owner));
void mp_owner_get(struct mp_owner *owner);
void mp_owner_put(struct mp_owner *owner);

#endif /* MP_OWNER_H */
