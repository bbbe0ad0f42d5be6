/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Included first in every file, by Kbuild: messages begin with the module's name. */
#ifndef MP_LOG_H
#define MP_LOG_H

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#endif /* MP_LOG_H */
