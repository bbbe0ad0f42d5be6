// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Page tables: how a session's memory gets into them, and out again.
 *
 * A session maps its offset space; .fault answers with a page of the chunk that
 * backs the slot, and the kernel maps the whole compound page by itself. The
 * right to map a chunk is a slot's pointer to it. That right is taken away in
 * this order, and nowhere else:
 *
 *	1. clear the owner and the slot's pointer, under the session's mutex;
 *	2. lock and unlock every folio of the chunk: a fault that still saw the
 *	   right has its page table entry in place now, a later one sees it gone;
 *	3. unmap_mapping_range() in the inode of the session;
 *	4. look at the reference counts: mp_chunk_settle().
 *
 * and .fault goes the other way: right, reference, lock, right again.
 *
 * All VMAs of a session are in the mapping of an inode of its own, so that a
 * zap walks only these, on a pseudo file system of the module. Its i_size covers
 * the space: kernels since 6.12 map 4 KiB at a time beyond it.
 */

#include <linux/atomic.h>
#include <linux/build_bug.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>

#include "arena.h"
#include "compat.h"
#include "mmap.h"
#include "session.h"

#define MP_FS_MAGIC	0x6d656d70	/* "memp" */

static struct vfsmount *mp_mount;
static struct inode *mp_reserve_inode;	/* the mapping that all chunks' pages carry */
static struct page *mp_status_page;
static u64 mp_space;

/* ---- inodes ---- */

static int mp_fs_init(struct fs_context *fc)
{
	return init_pseudo(fc, MP_FS_MAGIC) ? 0 : -ENOMEM;
}

/* No owner: our own mount must not keep the module from being unloaded. */
static struct file_system_type mp_fs = {
	.name = "mempool",
	.init_fs_context = mp_fs_init,
	.kill_sb = kill_anon_super,
};

u64 mp_space_bytes(void)
{
	return mp_space;
}

struct address_space *mp_reserve_mapping(void)
{
	return mp_reserve_inode->i_mapping;
}

/**
 * mp_inode_new() - an inode whose mapping can hold mappings of the whole space
 *
 * Its gfp mask lies below policy_zone, which makes NUMA balancing leave the
 * mappings alone; it is used for nothing else.
 *
 * Context: sleeps.
 * Return: an inode to iput(), or an error pointer.
 */
struct inode *mp_inode_new(void)
{
	struct inode *inode = alloc_anon_inode(mp_mount->mnt_sb);

	if (IS_ERR(inode))
		return inode;
	i_size_write(inode, mp_space + PAGE_SIZE);
	mapping_set_gfp_mask(inode->i_mapping, GFP_KERNEL | __GFP_DMA);
	return inode;
}

/* ---- the status page ---- */

/*
 * A request found too little free memory: a hint to caches in user space. Requests
 * come here at the same time, and user space only reads what the page has.
 */
void mp_raise_pressure(void)
{
	struct mempool_status *status = page_address(mp_status_page);

	BUILD_BUG_ON(sizeof(status->pressure) != sizeof(atomic_t));
	atomic_inc((atomic_t *)&status->pressure);
}

u32 mp_pressure(void)
{
	struct mempool_status *status = page_address(mp_status_page);

	return READ_ONCE(status->pressure);
}

/* ---- faults ---- */

static bool mp_may_map(const struct mp_slot *slot, struct mp_chunk *chunk)
{
	return mp_slot_chunk(slot) == chunk;
}

static vm_fault_t mp_fault_chunk(struct vm_fault *vmf, struct mp_session *s)
{
	unsigned int index = vmf->pgoff % MP_CHUNK_PAGES;
	struct mp_chunk *chunk;
	struct mp_slot *slot;
	struct folio *folio;
	struct page *page;

	/* A stranger's touch takes no reference: it must not look like a pin. */
	slot = mp_heap_slot(&s->heap, vmf->pgoff / MP_CHUNK_PAGES);
	chunk = slot ? mp_slot_chunk(slot) : NULL;
	if (!chunk)
		return VM_FAULT_SIGBUS;

	/* The reference first: what hand-over gave away must not be locked. */
	page = mp_chunk_get_page(chunk, &s->owner, index);
	if (!page)
		return VM_FAULT_SIGBUS;
	folio = page_folio(page);
	folio_lock(folio);
	if (!mp_may_map(slot, chunk) || !mp_chunk_has_page(chunk, &s->owner, index, page)) {
		folio_unlock(folio);
		folio_put(folio);
		return VM_FAULT_SIGBUS;
	}
	if (PageHWPoison(page)) {
		folio_unlock(folio);
		folio_put(folio);
		return VM_FAULT_HWPOISON;
	}
	vmf->page = page;
	return VM_FAULT_LOCKED;
}

static vm_fault_t mp_fault(struct vm_fault *vmf)
{
	if (vmf->pgoff == mp_space >> PAGE_SHIFT) {
		get_page(mp_status_page);
		vmf->page = mp_status_page;
		return 0;
	}
	return mp_fault_chunk(vmf, vmf->vma->vm_file->private_data);
}

static const struct vm_operations_struct mp_vm_ops = {
	.fault = mp_fault,
};

static int mp_mmap_status(struct vm_area_struct *vma)
{
	if (vma->vm_end - vma->vm_start != PAGE_SIZE)
		return -EINVAL;
	if (vma->vm_flags & VM_WRITE)
		return -EACCES;
	vm_flags_clear(vma, VM_MAYWRITE);
	return 0;
}

/**
 * mp_mmap() - maps a part of a session's offset space, or the status page
 * @file: the session
 * @vma: shared, not executable, inside the space
 *
 * Takes no lock and counts nothing: the file keeps the session, .fault decides.
 * A read-only file's mapping is shared but not VM_SHARED.
 *
 * Context: mmap_lock is held for writing.
 * Return: 0, -EINVAL, -EACCES.
 */
int mp_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long pages = (vma->vm_end - vma->vm_start) >> PAGE_SHIFT;
	unsigned long space = mp_space >> PAGE_SHIFT;
	int err = 0;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EACCES;
	if (vma->vm_pgoff == space)
		err = mp_mmap_status(vma);
	else if (vma->vm_pgoff > space || pages > space - vma->vm_pgoff)
		err = -EINVAL;
	if (err)
		return err;

	vm_flags_set(vma, VM_DONTEXPAND);
	vm_flags_clear(vma, VM_MAYEXEC);
	vma->vm_ops = &mp_vm_ops;
	return 0;
}

unsigned long mp_get_area(struct file *file, unsigned long addr, unsigned long len,
			  unsigned long pgoff, unsigned long flags)
{
	return mp_get_unmapped_area(file, addr, len, pgoff, flags);
}

/* ---- taking memory out of page tables ---- */

static void mp_zap(struct mp_session *s, u64 first, u64 nr)
{
	unmap_mapping_range(s->inode->i_mapping, first * MEMPOOL_CHUNK_SIZE,
			    nr * MEMPOOL_CHUNK_SIZE, 1);
}

/**
 * mp_session_unmap_range() - steps 2 and 3 for chunks that stay their owner's
 * @s: not locked; leaves a named pool
 * @first: slot number of the first; all pointers were cleared
 * @chunks: what was there
 * @nr: how many
 *
 * Context: sleeps; no lock held.
 */
void mp_session_unmap_range(struct mp_session *s, u64 first, struct mp_chunk *const *chunks,
			    u64 nr)
{
	u64 i;

	for (i = 0; i < nr; i++) {
		mp_pages_wait_unlocked(&chunks[i]->pages);
		cond_resched();
	}
	mp_zap(s, first, nr);
}

/**
 * mp_session_unmap() - steps 2 and 3 for chunks
 * @s: not locked
 * @chunks: detached from its heap; their slots can become holes afterwards
 *
 * Context: sleeps; no lock held.
 */
void mp_session_unmap(struct mp_session *s, struct list_head *chunks)
{
	struct mp_chunk *chunk;
	u64 first = 0, nr = 0;

	list_for_each_entry(chunk, chunks, list) {
		mp_pages_wait_unlocked(&chunk->pages);
		cond_resched();
	}
	/* Neighbours in one go: a zap costs other CPUs an interrupt. */
	list_for_each_entry(chunk, chunks, list) {
		if (nr && chunk->slot == first + nr) {
			nr++;
			continue;
		}
		if (nr)
			mp_zap(s, first, nr);
		first = chunk->slot;
		nr = 1;
	}
	if (nr)
		mp_zap(s, first, nr);
	list_for_each_entry(chunk, chunks, list)
		llist_add(&mp_heap_slot(&s->heap, chunk->slot)->freed, &s->freed);
}

/**
 * mp_session_hand_over() - gives chunks up: steps 2 to 4
 * @s: not locked
 * @chunks: leaving, detached from its heap; the list is empty afterwards
 *
 * Does not zero and does not wait for pins. The caller may be any process.
 *
 * Context: sleeps; no lock held.
 */
void mp_session_hand_over(struct mp_session *s, struct list_head *chunks)
{
	struct mp_chunk *chunk, *next;

	mp_session_unmap(s, chunks);
	list_for_each_entry_safe(chunk, next, chunks, list) {
		list_del(&chunk->list);
		mp_chunk_settle(chunk);
		cond_resched();
	}
}

/* A pinned chunk of @owner was still mapped: its slot is zapped once more. */
void mp_zap_again(struct mp_owner *owner, u64 slot)
{
	if (owner->kind == MP_OWNER_SESSION)
		mp_zap(container_of(owner, struct mp_session, owner), slot, 1);
}

/* ---- load and unload ---- */

/**
 * mp_mmap_init() - mounts the pseudo file system
 * @space_bytes: size of every session's offset space
 *
 * Context: sleeps.
 * Return: 0 or a negative errno.
 */
int mp_mmap_init(u64 space_bytes)
{
	int err;

	mp_space = space_bytes;
	mp_status_page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!mp_status_page)
		return -ENOMEM;
	mp_mount = kern_mount(&mp_fs);
	if (IS_ERR(mp_mount)) {
		err = PTR_ERR(mp_mount);
		goto err_status;
	}
	mp_reserve_inode = mp_inode_new();
	if (IS_ERR(mp_reserve_inode)) {
		err = PTR_ERR(mp_reserve_inode);
		goto err_mount;
	}
	return 0;

err_mount:
	kern_unmount(mp_mount);
err_status:
	__free_page(mp_status_page);
	return err;
}

void mp_mmap_exit(void)
{
	iput(mp_reserve_inode);
	kern_unmount(mp_mount);
	__free_page(mp_status_page);
}
