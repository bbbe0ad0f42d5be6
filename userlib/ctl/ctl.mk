# SPDX-License-Identifier: MIT OR GPL-2.0
#
# The tool mempoolctl, for the Makefile at the top to include. It needs nothing
# but libc; CTL_LDFLAGS=-static makes one that runs anywhere.

CTL	:= $(BUILD)/userlib/mempoolctl
CTL_SOURCES := $(wildcard userlib/ctl/*.c)
CTL_LDFLAGS ?=

ctl_link = @echo '  CC      $@'; mkdir -p $(@D); \
	$(CC) -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -Wshadow $(CPPFLAGS) \
		$(CFLAGS) $(LDFLAGS) $(1) -o $@ $(CTL_SOURCES)

mempoolctl: need-cc
	@$(MAKE) $(CTL)

$(CTL): $(CTL_SOURCES) userlib/ctl/ctl.h userlib/libmempool.h
	$(call ctl_link,$(CTL_LDFLAGS))

# For guests, which have no libc.
$(CTL)-static: $(CTL_SOURCES) userlib/ctl/ctl.h userlib/libmempool.h
	$(call ctl_link,-static)

# What README.md shows of it, from a guest.
pictures: userlib
	@$(MAKE) $(CTL)-static $(BUILD)/selftests/tool/hold
	@$(VM)/pictures $(KERNEL)

.PHONY: mempoolctl pictures

# What the tool's test runs in the guest to have something to see.
$(BUILD)/selftests/tool/hold: selftests/tool/hold.c userlib/libmempool.h $(BUILD)/userlib/libmempool.a
	@echo '  CC      $@'; mkdir -p $(@D)
	@gcc -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -static -pthread -Iuserlib \
		-o $@ $< $(BUILD)/userlib/libmempool.a
