/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The hash function of FIPS 180-4
 */
#ifndef SHA256_H
#define SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

struct sha256 {
	uint32_t state[8];
	uint64_t length;		/* bytes hashed so far */
	unsigned char partial[64];	/* those that do not fill a chunk yet */
};

void sha256_init(struct sha256 *hash);

/* Whole chunks of 64 bytes are read where they lie, not copied. */
void sha256_update(struct sha256 *hash, const void *data, size_t length);

/* Ends the hash; @hash must be initialised again before further use. */
void sha256_final(struct sha256 *hash, unsigned char digest[SHA256_BYTES]);

#endif /* SHA256_H */
