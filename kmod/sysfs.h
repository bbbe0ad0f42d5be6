/* SPDX-License-Identifier: MIT OR GPL-2.0 */
#ifndef MP_SYSFS_H
#define MP_SYSFS_H

struct attribute_group;
struct device;
struct mp_pool;

extern const struct attribute_group *mp_device_groups[];

void mp_sysfs_init(struct device *device);
void mp_sysfs_exit(void);
void mp_sysfs_add_pool(struct mp_pool *pool);
void mp_sysfs_remove_pool(struct mp_pool *pool);

void mp_debugfs_init(void);
void mp_debugfs_exit(void);

#endif /* MP_SYSFS_H */
