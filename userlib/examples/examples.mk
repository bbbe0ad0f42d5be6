# SPDX-License-Identifier: MIT OR GPL-2.0
#
# The example programs, for userlib/Makefile to include: static, so that they
# run in a guest that has nothing else. Needs O (where to build), Q (@ or nothing)
# and the library at $(O)/libmempool.a.

EXAMPLES := $(addprefix $(O)/examples/,fit simulate pipeline)
EXAMPLE_CC = $(CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -Wshadow -D_GNU_SOURCE -I. $(CFLAGS)

examples: $(EXAMPLES)

$(O)/examples/fit: $(addprefix examples/,fit.c lm.c nist_models.c nist_data.c)
$(O)/examples/fit: $(addprefix examples/,lm.h nist.h)
$(O)/examples/simulate: examples/simulate.c
$(O)/examples/pipeline: $(addprefix examples/,pipeline.c pipeline_crash.c sha256.c)
$(O)/examples/pipeline: $(addprefix examples/,pipeline.h sha256.h)

$(EXAMPLES): libmempool.h $(O)/libmempool.a examples/examples.mk
	$(if $(Q),@echo '  CC      $@')
	$(Q)mkdir -p $(@D)
	$(Q)$(EXAMPLE_CC) -static -pthread $(LDFLAGS) -o $@ \
		$(filter %.c,$^) $(O)/libmempool.a -lm

.PHONY: examples
