// SPDX-License-Identifier: MIT OR GPL-2.0
/* Owners of chunks and the users they are charged to: see owner.h. */

#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "owner.h"

static LIST_HEAD(mp_users);
static DEFINE_MUTEX(mp_users_lock);	/* mp_users and every mp_user.ref */
static atomic64_t mp_owner_ids = ATOMIC64_INIT(0);

static struct mp_user *mp_user_find(kuid_t uid)
{
	struct mp_user *user;

	lockdep_assert_held(&mp_users_lock);
	list_for_each_entry(user, &mp_users, list)
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

/**
 * mp_user_get() - the user @uid, made on first use
 * @uid: in the initial user namespace
 *
 * Context: sleeps.
 * Return: a counted reference, or NULL when out of memory.
 */
struct mp_user *mp_user_get(kuid_t uid)
{
	struct mp_user *user;

	mutex_lock(&mp_users_lock);
	user = mp_user_find(uid);
	if (!user) {
		user = kzalloc(sizeof(*user), GFP_KERNEL_ACCOUNT);
		if (user) {
			user->uid = uid;
			list_add(&user->list, &mp_users);
		}
	}
	if (user)
		user->ref++;
	mutex_unlock(&mp_users_lock);
	return user;
}

/**
 * mp_user_put() - drops a reference
 * @user: may be NULL
 *
 * Context: sleeps.
 */
void mp_user_put(struct mp_user *user)
{
	if (!user)
		return;
	mutex_lock(&mp_users_lock);
	if (!--user->ref) {
		WARN_ON_ONCE(user->chunks || user->sessions);
		list_del(&user->list);
		kfree(user);
	}
	mutex_unlock(&mp_users_lock);
}

/**
 * mp_owner_init() - the owner part of a session or pool, one reference
 * @owner: zeroed
 * @kind: what it is
 * @user: who is charged; the reference passes to the owner. NULL: nobody
 * @release: frees it after the last put, when it owns no chunk
 */
void mp_owner_init(struct mp_owner *owner, enum mp_owner_kind kind, struct mp_user *user,
		   void (*release)(struct mp_owner *owner))
{
	kref_init(&owner->ref);
	owner->kind = kind;
	owner->id = atomic64_inc_return(&mp_owner_ids);
	owner->user = user;
	owner->release = release;
}

void mp_owner_get(struct mp_owner *owner)
{
	kref_get(&owner->ref);
}

static void mp_owner_last_put(struct kref *ref)
{
	struct mp_owner *owner = container_of(ref, struct mp_owner, ref);
	struct mp_user *user = owner->user;

	WARN_ON_ONCE(owner->owned || owner->pinned);
	owner->release(owner);
	mp_user_put(user);
}

/**
 * mp_owner_put() - drops a reference; the last one frees the owner
 * @owner: session or pool
 *
 * Context: sleeps.
 */
void mp_owner_put(struct mp_owner *owner)
{
	kref_put(&owner->ref, mp_owner_last_put);
}
