// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Extents: see extents.h.
 *
 * The free runs form an AVL tree by start; each node knows the longest run of
 * its subtree, so that the lowest run that fits is found in one descent. Changes
 * go down along a recorded path and repair it upwards: no recursion.
 */
#include "extents.h"

struct mp_extent {
	u64 start;
	u64 len;
	u64 longest;			/* run in this subtree */
	struct mp_extent *kid[2];	/* lower, higher; a spare: the next one */
	int height;
};

/* An AVL tree of height 48 has more than 2^33 nodes. */
#define MP_MAX_HEIGHT	48

/* The links from the root to a place in the tree, that one included. */
struct mp_path {
	struct mp_extent **link[MP_MAX_HEIGHT];
	int depth;
};

static int height(const struct mp_extent *node)
{
	return node ? node->height : 0;
}

static u64 longest(const struct mp_extent *node)
{
	return node ? node->longest : 0;
}

static void update(struct mp_extent *node)
{
	struct mp_extent **kid = node->kid;

	node->height = 1 + max(height(kid[0]), height(kid[1]));
	node->longest = max(node->len, max(longest(kid[0]), longest(kid[1])));
}

/* Lifts the kid on @side above its parent. */
static void lift(struct mp_extent **link, int side)
{
	struct mp_extent *node = *link, *kid = node->kid[side];

	node->kid[side] = kid->kid[!side];
	kid->kid[!side] = node;
	*link = kid;
	update(node);
	update(kid);
}

/* Repairs one node whose kids are in order and differ by at most 2 in height. */
static void repair(struct mp_extent **link)
{
	struct mp_extent *node = *link, *kid;
	int tilt = height(node->kid[1]) - height(node->kid[0]);
	int side = tilt > 0;

	update(node);
	if (tilt >= -1 && tilt <= 1)
		return;
	kid = node->kid[side];
	if (height(kid->kid[!side]) > height(kid->kid[side]))
		lift(&node->kid[side], !side);
	lift(link, side);
}

static void repair_path(struct mp_path *path)
{
	while (path->depth) {
		struct mp_extent **link = path->link[--path->depth];

		if (*link)
			repair(link);
	}
}

/* Walks to the run that begins at @start, or to where it would be (NULL). */
static struct mp_extent *walk(struct mp_extents *ex, u64 start, struct mp_path *path)
{
	struct mp_extent **link = &ex->root;

	path->depth = 0;
	for (;;) {
		path->link[path->depth++] = link;
		if (!*link || (*link)->start == start)
			return *link;
		link = &(*link)->kid[start > (*link)->start];
	}
}

static void push_spare(struct mp_extents *ex, struct mp_extent *node)
{
	node->kid[0] = ex->spares;
	ex->spares = node;
	ex->nr_spares++;
}

static struct mp_extent *pop_spare(struct mp_extents *ex)
{
	struct mp_extent *node = ex->spares;

	ex->spares = node->kid[0];
	ex->nr_spares--;
	return node;
}

static int add_spare(struct mp_extents *ex)
{
	struct mp_extent *node = mp_zalloc(sizeof(*node));

	if (!node)
		return -ENOMEM;
	push_spare(ex, node);
	return 0;
}

static void free_spare(struct mp_extents *ex)
{
	mp_free(pop_spare(ex));
}

static void insert(struct mp_extents *ex, u64 start, u64 len)
{
	struct mp_extent *node = pop_spare(ex);
	struct mp_path path;

	node->start = start;
	node->len = len;
	node->kid[0] = NULL;
	node->kid[1] = NULL;
	walk(ex, start, &path);
	*path.link[path.depth - 1] = node;
	repair_path(&path);
	ex->nr_runs++;
}

static void erase(struct mp_extents *ex, u64 start)
{
	struct mp_path path;
	struct mp_extent *node = walk(ex, start, &path), **link;

	if (node->kid[0] && node->kid[1]) {
		/* The next run moves here, and the node it had goes. */
		for (link = &node->kid[1]; ; link = &(*link)->kid[0]) {
			path.link[path.depth++] = link;
			if (!(*link)->kid[0])
				break;
		}
		node->start = (*link)->start;
		node->len = (*link)->len;
		node = *link;
	}
	*path.link[path.depth - 1] = node->kid[0] ? node->kid[0] : node->kid[1];
	repair_path(&path);
	push_spare(ex, node);
	ex->nr_runs--;
}

/* Changes a run's borders; its place in the order stays. */
static void resize(struct mp_extents *ex, u64 old_start, u64 start, u64 len)
{
	struct mp_path path;
	struct mp_extent *node = walk(ex, old_start, &path);

	node->start = start;
	node->len = len;
	repair_path(&path);
}

/* The last run that begins at or below @pos, or NULL. */
static const struct mp_extent *run_below(const struct mp_extents *ex, u64 pos)
{
	const struct mp_extent *node = ex->root, *best = NULL;

	while (node) {
		if (node->start <= pos)
			best = node;
		node = node->kid[node->start <= pos];
	}
	return best;
}

/* The run that contains all of the range, or NULL. */
static const struct mp_extent *run_around(const struct mp_extents *ex, u64 start, u64 len)
{
	const struct mp_extent *run = run_below(ex, start);

	if (!run || start - run->start >= run->len || run->len - (start - run->start) < len)
		return NULL;
	return run;
}

/* Takes the range out of the run around it. */
static void cut(struct mp_extents *ex, u64 run_start, u64 run_len, u64 start, u64 len)
{
	u64 left = start - run_start, right = run_len - left - len;

	if (left)
		resize(ex, run_start, run_start, left);
	if (left && right)
		insert(ex, start + len, right);
	else if (right)
		resize(ex, run_start, start + len, right);
	else if (!left)
		erase(ex, run_start);
	ex->free -= len;
}

/* Puts the range among the free ones and merges it with its neighbours. */
static void join(struct mp_extents *ex, u64 start, u64 len)
{
	u64 left = mp_extents_ending_at(ex, start);
	u64 right = mp_extents_starting_at(ex, start + len);

	if (left && right)
		erase(ex, start + len);
	if (left)
		resize(ex, start - left, start - left, left + len + right);
	else if (right)
		resize(ex, start + len, start, len + right);
	else
		insert(ex, start, len);
	ex->free += len;
}

void mp_extents_init(struct mp_extents *ex)
{
	memset(ex, 0, sizeof(*ex));
}

void mp_extents_destroy(struct mp_extents *ex)
{
	while (ex->root)
		erase(ex, ex->root->start);
	while (ex->spares)
		free_spare(ex);
}

int mp_extents_add(struct mp_extents *ex, u64 start, u64 len)
{
	int err = add_spare(ex);

	if (err)
		return err;
	join(ex, start, len);
	ex->nr_added++;
	return 0;
}

void mp_extents_remove(struct mp_extents *ex, u64 start, u64 len)
{
	const struct mp_extent *run = run_around(ex, start, len);

	if (WARN_ON_ONCE(!run))
		return;
	cut(ex, run->start, run->len, start, len);
	ex->nr_added--;
	free_spare(ex);
}

int mp_extents_take(struct mp_extents *ex, u64 len, u64 *start)
{
	u64 found = mp_extents_find(ex, len);
	int err;

	if (found == U64_MAX)
		return -ENOSPC;
	err = mp_extents_take_at(ex, found, len);
	if (!err)
		*start = found;
	return err;
}

int mp_extents_take_at(struct mp_extents *ex, u64 start, u64 len)
{
	const struct mp_extent *run = run_around(ex, start, len);
	int err;

	if (!run)
		return -ENOSPC;
	err = add_spare(ex);
	if (err)
		return err;
	cut(ex, run->start, run->len, start, len);
	ex->nr_taken++;
	return 0;
}

void mp_extents_give(struct mp_extents *ex, u64 start, u64 len)
{
	join(ex, start, len);
	ex->nr_taken--;
	free_spare(ex);
}

u64 mp_extents_longest(const struct mp_extents *ex)
{
	return longest(ex->root);
}

u64 mp_extents_ending_at(const struct mp_extents *ex, u64 end)
{
	const struct mp_extent *run = end ? run_below(ex, end - 1) : NULL;

	return run && run->start + run->len == end ? run->len : 0;
}

u64 mp_extents_starting_at(const struct mp_extents *ex, u64 start)
{
	const struct mp_extent *run = run_below(ex, start);

	return run && run->start == start ? run->len : 0;
}

u64 mp_extents_find(const struct mp_extents *ex, u64 len)
{
	const struct mp_extent *node = ex->root;

	if (longest(node) < len)
		return U64_MAX;
	while (longest(node->kid[0]) >= len || node->len < len)
		node = node->kid[longest(node->kid[0]) < len];
	return node->start;
}

u64 mp_extents_next(const struct mp_extents *ex, u64 from, u64 *len)
{
	const struct mp_extent *node = ex->root, *best = NULL;

	while (node) {
		if (node->start >= from)
			best = node;
		node = node->kid[node->start < from];
	}
	if (!best)
		return U64_MAX;
	*len = best->len;
	return best->start;
}

/* Adds up a subtree whose runs must lie in [@low, @high), touching neither. */
static bool subtree_valid(const struct mp_extent *node, u64 low, u64 high, u64 *nr, u64 *sum)
{
	const struct mp_extent *kid0, *kid1;
	int tilt;

	if (!node)
		return true;
	kid0 = node->kid[0];
	kid1 = node->kid[1];
	tilt = height(kid1) - height(kid0);
	*nr += 1;
	*sum += node->len;
	return node->len && node->start >= low && node->start < high &&
	       high - node->start >= node->len && tilt >= -1 && tilt <= 1 &&
	       node->height == 1 + max(height(kid0), height(kid1)) &&
	       node->longest == max(node->len, max(longest(kid0), longest(kid1))) &&
	       node->start + node->len < U64_MAX &&
	       subtree_valid(kid0, low, node->start ? node->start - 1 : 0, nr, sum) &&
	       subtree_valid(kid1, node->start + node->len + 1, high, nr, sum);
}

bool mp_extents_valid(const struct mp_extents *ex)
{
	const struct mp_extent *spare;
	u64 nr = 0, sum = 0, spares = 0;

	for (spare = ex->spares; spare; spare = spare->kid[0])
		spares++;
	return subtree_valid(ex->root, 0, U64_MAX, &nr, &sum) && nr == ex->nr_runs &&
	       sum == ex->free && spares == ex->nr_spares &&
	       ex->nr_runs + ex->nr_spares == ex->nr_added + ex->nr_taken;
}
