/* SPDX-License-Identifier: MIT OR GPL-2.0 */
#ifndef MP_IOCTL_H
#define MP_IOCTL_H

struct file;

long mp_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

#endif /* MP_IOCTL_H */
