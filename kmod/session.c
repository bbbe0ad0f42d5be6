// SPDX-License-Identifier: MIT OR GPL-2.0
/* Session: lifetime, options and figures. See session.h. */

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/mmdebug.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

#include "check.h"
#include "figures.h"
#include "mmap.h"
#include "pool.h"
#include "session.h"

struct mp_session_defaults mp_session_defaults;

LIST_HEAD(mp_sessions);
DEFINE_MUTEX(mp_sessions_lock);		/* mp_sessions, mp_nr_sessions, mp_closed */
static unsigned long mp_nr_sessions;

/* What closed sessions did: sums over sessions never run backwards. */
static struct mempool_session_stats mp_closed;

/* ---- lifetime ---- */

static void mp_session_free(struct mp_owner *owner)
{
	struct mp_session *s = container_of(owner, struct mp_session, owner);

	mp_buckets_destroy(&s->buckets);
	mp_heap_destroy(&s->heap);
	xa_destroy(&s->pools);
	if (s->inode)
		iput(s->inode);
	kfree(s);
}

/*
 * A user may have as many sessions as would be left for others: half of them when
 * alone, and whatever one user does, another gets some. CAP_SYS_RESOURCE may have
 * all.
 */
static bool mp_user_may_have_another(const struct mp_user *user)
{
	unsigned long left = mp_session_defaults.max_sessions - mp_nr_sessions;

	lockdep_assert_held(&mp_sessions_lock);
	return left && (user->sessions < left || capable(CAP_SYS_RESOURCE));
}

static int mp_session_enlist(struct mp_session *s)
{
	struct mp_user *user = s->owner.user;
	int err = 0;

	mutex_lock(&mp_sessions_lock);
	if (mp_user_may_have_another(user)) {
		user->sessions++;
		mp_nr_sessions++;
		list_add_tail(&s->list, &mp_sessions);
	} else {
		err = -ENFILE;
	}
	mutex_unlock(&mp_sessions_lock);
	return err;
}

static int mp_session_init(struct mp_session *s)
{
	int err;

	mutex_init(&s->configuring);
	mutex_init(&s->lock);
	init_llist_head(&s->freed);
	xa_init_flags(&s->pools, XA_FLAGS_ALLOC | XA_FLAGS_ACCOUNT);
	s->node = NUMA_NO_NODE;
	s->last_used = jiffies;
	s->pid = task_tgid_nr(current);
	get_task_comm(s->comm, current);
	s->owner.limit = mp_session_defaults.limit;
	mp_buckets_init(&s->buckets, &s->heap, &mp_session_defaults.tiers);
	err = mp_heap_init(&s->heap, mp_session_defaults.nr_slots);
	if (err)
		return err;
	s->inode = mp_inode_new();
	if (IS_ERR(s->inode)) {
		err = PTR_ERR(s->inode);
		s->inode = NULL;
		return err;
	}
	return mp_session_enlist(s);
}

/**
 * mp_session_open() - a new owner of memory, of the calling user
 *
 * Context: sleeps.
 * Return: the session, ended by mp_session_close(); -ENOMEM or -ENFILE as an
 * error pointer.
 */
struct mp_session *mp_session_open(void)
{
	struct mp_session *s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);
	struct mp_user *user = mp_user_get(current_euid());
	int err;

	if (!s || !user) {
		mp_user_put(user);
		kfree(s);
		return ERR_PTR(-ENOMEM);
	}
	mp_owner_init(&s->owner, MP_OWNER_SESSION, user, mp_session_free);
	err = mp_session_init(s);
	if (err) {
		mp_owner_put(&s->owner);
		return ERR_PTR(err);
	}
	return s;
}

/* Claims may be any number, so sums stop at the end. */
static void mp_raise(u64 *sum, u64 by)
{
	*sum = mp_add_saturating(*sum, by);
}

static void mp_add_counters(struct mempool_session_stats *sum,
			    const struct mempool_session_stats *stats)
{
	mp_raise(&sum->new_allocations, stats->new_allocations);
	mp_raise(&sum->reused_allocations, stats->reused_allocations);
	mp_raise(&sum->total_allocations, stats->total_allocations);
	mp_raise(&sum->releases, stats->releases);
	mp_raise(&sum->bad_releases, stats->bad_releases);
	mp_raise(&sum->failed_no_memory, stats->failed_no_memory);
	mp_raise(&sum->failed_limit, stats->failed_limit);
	mp_raise(&sum->reclaimed_chunks, stats->reclaimed_chunks);
}

static void mp_session_read_stats(struct mp_session *s, struct mempool_session_stats *stats);

/* Off the list and into the sums of closed sessions, in one step for readers. */
static void mp_session_delist(struct mp_session *s)
{
	struct mempool_session_stats stats;

	mutex_lock(&mp_sessions_lock);
	list_del(&s->list);
	s->owner.user->sessions--;
	mp_nr_sessions--;
	mp_session_read_stats(s, &stats);
	mp_add_counters(&mp_closed, &stats);
	mutex_unlock(&mp_sessions_lock);
}

/**
 * mp_session_close() - the last reference to the file is gone
 * @s: no descriptor, no mapping and no system call is left
 *
 * Everything goes back: the caller may be any process that held the last
 * reference, so nothing is zeroed here and no pin is waited for.
 *
 * Context: sleeps.
 */
void mp_session_close(struct mp_session *s)
{
	LIST_HEAD(chunks);

	/* While it is on the list: others' requests count on what is idle in it. */
	mutex_lock(&s->lock);
	WRITE_ONCE(s->min_chunks, 0);
	mp_session_detach_idle(s, ULONG_MAX, &chunks);
	mp_session_unlock_and_hand_over(s, &chunks);

	mp_session_delist(s);
	mp_session_leave_pools(s);

	mutex_lock(&s->lock);
	/* All books of the session, where the kernel is built to check itself. */
	VM_WARN_ON_ONCE(!mp_buckets_valid(&s->buckets));
	mp_buckets_give_all(&s->buckets);
	mp_buckets_trim(&s->buckets);
	mp_session_detach_idle(s, ULONG_MAX, &chunks);
	WARN_ON_ONCE(s->heap.nr_backed);
	mp_session_unlock_and_hand_over(s, &chunks);
	mp_owner_put(&s->owner);
}

/* ---- options ---- */

/**
 * mp_session_info() - what this device and this session are
 * @s: not locked
 * @info: filled in
 */
void mp_session_info(struct mp_session *s, struct mempool_info *info)
{
	struct mp_tiers *tiers = &s->buckets.tiers;

	mutex_lock(&s->lock);
	*info = (struct mempool_info){
		.features = MEMPOOL_FEATURE_CLAIMS | MEMPOOL_FEATURE_STATUS_PAGE |
			    MEMPOOL_FEATURE_NAMED_POOLS |
			    (IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) ? MEMPOOL_FEATURE_HUGE : 0),
		.session_id = s->owner.id,
		.space_bytes = mp_space_bytes(),
		.status_offset = mp_space_bytes(),
		.reserve_bytes = (u64)mp_arena.nr_chunks * MEMPOOL_CHUNK_SIZE,
		.max_cached_bytes = s->buckets.max_cached_bytes,
		.min_bytes = (u64)s->min_chunks * MEMPOOL_CHUNK_SIZE,
		.limit_bytes = (u64)(mp_peek(s->owner.limit) ?: mp_arena.nr_chunks) *
			       MEMPOOL_CHUNK_SIZE,
		.user_limit_bytes = (u64)(mp_arena.user_limit ?: mp_arena.nr_chunks) *
				    MEMPOOL_CHUNK_SIZE,
		.page_size = PAGE_SIZE,
		.chunk_size = MEMPOOL_CHUNK_SIZE,
		.block_align = MEMPOOL_BLOCK_ALIGN,
		.max_batch = MP_MAX_BATCH,
		.max_cached = s->buckets.max_cached,
		.node = s->node == NUMA_NO_NODE ? MEMPOOL_NODE_ANY : s->node,
		.nr_tiers = tiers->nr,
	};
	memcpy(info->tiers, tiers->tier, tiers->nr * sizeof(tiers->tier[0]));
	mutex_unlock(&s->lock);
}

/* What depends on this machine and on the module's parameters. */
static int mp_check_reach(const struct mempool_configure *conf)
{
	if ((conf->flags & MEMPOOL_CONFIGURE_NODE) && conf->node != MEMPOOL_NODE_ANY &&
	    (conf->node < 0 || conf->node >= nr_node_ids || !node_online(conf->node)))
		return -EINVAL;
	if ((conf->flags & MEMPOOL_CONFIGURE_LIMIT_BYTES) &&
	    (conf->limit_bytes < MEMPOOL_CHUNK_SIZE ||
	     conf->limit_bytes / MEMPOOL_CHUNK_SIZE >
	     (mp_session_defaults.limit ?: mp_arena.nr_chunks)))
		return -EINVAL;
	return 0;
}

/* An open pool was allocated, too; one whose handle could not be told is no more. */
static bool mp_session_too_late(const struct mp_session *s)
{
	lockdep_assert_held(&s->lock);
	return s->started || s->under_way || s->nr_pools;
}

/* The guaranteed minimum: taken now, or refused with nothing changed. */
static int mp_session_set_min(struct mp_session *s, u64 bytes)
{
	u64 chunks = DIV_ROUND_UP_ULL(bytes, MEMPOOL_CHUNK_SIZE);
	int err = 0;

	if (bytes > U64_MAX - MEMPOOL_CHUNK_SIZE || chunks > mp_arena.nr_chunks)
		return -ENOMEM;
	/* Unlocked meanwhile: what was had may be gone again, or be in use. */
	while (!err && chunks > s->heap.nr_backed)
		err = mp_session_grow(s, chunks * MP_CHUNK_PAGES, false);
	if (!err && mp_session_too_late(s))
		err = -EBUSY;
	if (!err)
		WRITE_ONCE(s->min_chunks, chunks);
	return err;
}

static int mp_session_apply(struct mp_session *s, const struct mempool_configure *conf,
			    const struct mp_tiers *tiers)
{
	unsigned long old_limit = s->owner.limit;
	int old_node = s->node;
	int err = 0;

	lockdep_assert_held(&s->configuring);
	if (conf->flags & MEMPOOL_CONFIGURE_LIMIT_BYTES)
		mp_arena_set_limit(&s->owner, conf->limit_bytes / MEMPOOL_CHUNK_SIZE);
	if (conf->flags & MEMPOOL_CONFIGURE_NODE)
		s->node = conf->node == MEMPOOL_NODE_ANY ? NUMA_NO_NODE : conf->node;
	if (conf->flags & MEMPOOL_CONFIGURE_MIN_BYTES)
		err = mp_session_set_min(s, conf->min_bytes);
	if (err) {
		mp_arena_set_limit(&s->owner, old_limit);
		s->node = old_node;
		return err;
	}
	/* Slabs of an ALLOC that was undone: the options before made them. */
	mp_buckets_trim(&s->buckets);
	if (conf->flags & MEMPOOL_CONFIGURE_TIERS)
		mp_buckets_set_tiers(&s->buckets, tiers);
	if (conf->flags & MEMPOOL_CONFIGURE_MAX_CACHED)
		s->buckets.max_cached = conf->max_cached;
	if (conf->flags & MEMPOOL_CONFIGURE_MAX_CACHED_BYTES)
		s->buckets.max_cached_bytes = conf->max_cached_bytes;
	return 0;
}

/**
 * mp_session_configure() - sets options, before the first allocation
 * @s: not locked
 * @conf: from the user
 *
 * Context: sleeps.
 * Return: 0; -EINVAL, -EBUSY, -ENOMEM, -EDQUOT, -EINTR.
 */
int mp_session_configure(struct mp_session *s, const struct mempool_configure *conf)
{
	LIST_HEAD(chunks);
	struct mp_tiers tiers;
	int err;

	err = mp_check_configure(conf, &tiers);
	if (!err)
		err = mp_check_reach(conf);
	if (err)
		return err;
	if (mutex_lock_killable(&s->configuring))
		return -EINTR;
	err = mp_session_lock(s);
	if (!err) {
		err = mp_session_too_late(s) ? -EBUSY : mp_session_apply(s, conf, &tiers);
		mp_session_detach_free(s, &chunks);
		mp_session_unlock_and_hand_over(s, &chunks);
	}
	mutex_unlock(&s->configuring);
	return err;
}

/* ---- figures ---- */

/**
 * mp_session_claim() - takes over what caches in user space counted
 * @s: not locked
 * @claims: from the user; only statistics depend on them
 */
void mp_session_claim(struct mp_session *s, const struct mempool_claims *claims)
{
	mutex_lock(&s->lock);
	mp_claims_add(&s->claims, claims);
	mutex_unlock(&s->lock);
}

static void mp_session_read_stats(struct mp_session *s, struct mempool_session_stats *stats)
{
	const u64 chunk = MEMPOOL_CHUNK_SIZE;

	mp_figures_read(&s->buckets, &s->claims, stats);
	stats->session_id = s->owner.id;
	stats->owned_bytes = mp_peek(s->owner.owned) * chunk;
	stats->pinned_bytes = mp_peek(s->owner.pinned) * chunk;
	stats->min_bytes = mp_peek(s->min_chunks) * chunk;
	stats->limit_bytes = (mp_peek(s->owner.limit) ?: mp_arena.nr_chunks) * chunk;
	stats->failed_no_memory = mp_peek(s->failed_no_memory);
	stats->failed_limit = mp_peek(s->failed_session_limit) +
			      mp_peek(s->failed_user_limit);
	stats->reclaimed_chunks = mp_peek(s->reclaimed);
	stats->nr_pools = mp_peek(s->nr_pools);
}

/**
 * mp_session_stats() - a session's counters
 * @s: not locked
 * @stats: filled in
 */
void mp_session_stats(struct mp_session *s, struct mempool_session_stats *stats)
{
	mutex_lock(&s->lock);
	mp_session_read_stats(s, stats);
	stats->heap_largest_free_bytes = mp_extents_longest(&s->heap.pages) << PAGE_SHIFT;
	mutex_unlock(&s->lock);
}

/**
 * mp_sessions_totals() - sums over all sessions, closed ones included
 * @sum: counters, and current figures of open sessions
 * @nr: open sessions
 * @nr_idle: chunks that others' requests could take
 *
 * Context: sleeps; no session's mutex is taken.
 */
void mp_sessions_totals(struct mempool_session_stats *sum, unsigned long *nr, u64 *nr_idle)
{
	struct mempool_session_stats stats;
	struct mp_session *s;

	mutex_lock(&mp_sessions_lock);
	*sum = mp_closed;
	*nr = mp_nr_sessions;
	*nr_idle = 0;
	list_for_each_entry(s, &mp_sessions, list) {
		mp_session_read_stats(s, &stats);
		mp_add_counters(sum, &stats);
		mp_raise(&sum->currently_allocated, stats.currently_allocated);
		sum->current_bytes += stats.current_bytes;
		*nr_idle += mp_session_spare_idle(s);
	}
	mutex_unlock(&mp_sessions_lock);
}

/**
 * mp_sessions_show() - one line per open session, for debugfs
 * @m: where to
 */
void mp_sessions_show(struct seq_file *m)
{
	struct mempool_session_stats stats;
	struct mp_session *s;

	seq_puts(m, "session pid uid owned_bytes pinned_bytes allocated_bytes idle_bytes pools comm\n");
	mutex_lock(&mp_sessions_lock);
	list_for_each_entry(s, &mp_sessions, list) {
		mp_session_read_stats(s, &stats);
		seq_printf(m, "%llu %d %u %llu %llu %llu %llu %llu ", stats.session_id, s->pid,
			   from_kuid(&init_user_ns, s->owner.user->uid),
			   stats.owned_bytes, stats.pinned_bytes, stats.current_bytes,
			   (u64)mp_session_spare_idle(s) * MEMPOOL_CHUNK_SIZE, stats.nr_pools);
		/* Its owner chose it: it must not look like another line. */
		seq_escape(m, s->comm, "\n\\");
		seq_putc(m, '\n');
	}
	mutex_unlock(&mp_sessions_lock);
}
