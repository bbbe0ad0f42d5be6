/* SPDX-License-Identifier: MIT OR GPL-2.0 */
#ifndef MP_MMAP_H
#define MP_MMAP_H

#include <linux/fs.h>
#include <linux/list.h>

struct mp_chunk;
struct mp_owner;
struct mp_session;

int mp_mmap_init(u64 space_bytes);
void mp_mmap_exit(void);

u64 mp_space_bytes(void);
struct address_space *mp_reserve_mapping(void);
struct inode *mp_inode_new(void);
void mp_raise_pressure(void);
u32 mp_pressure(void);

int mp_mmap(struct file *file, struct vm_area_struct *vma);
unsigned long mp_get_area(struct file *file, unsigned long addr, unsigned long len,
			  unsigned long pgoff, unsigned long flags);

void mp_session_unmap(struct mp_session *s, struct list_head *chunks);
void mp_session_hand_over(struct mp_session *s, struct list_head *chunks);
void mp_session_unmap_range(struct mp_session *s, u64 first, struct mp_chunk *const *chunks,
			    u64 nr);
void mp_zap_again(struct mp_owner *owner, u64 slot);

#endif /* MP_MMAP_H */
