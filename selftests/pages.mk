# SPDX-License-Identifier: MIT OR GPL-2.0
#
# The examples of README and manuals as programs, for the Makefile at the top to
# include. They are compiled as a reader would: no warning is let pass.

PAGES	= $(addprefix $(BUILD)/pages/,$(shell selftests/check/pages list))

pages: userlib
	@selftests/check/pages extract $(BUILD)/pages
	@$(MAKE) $(PAGES)

$(BUILD)/pages/%: $(BUILD)/pages/%.c $(BUILD)/userlib/libmempool.a
	@echo '  CC      $@'
	@gcc -std=gnu11 -O2 -Wall -Wextra -Werror -static -pthread -I. -Iuserlib -o $@ $< \
		$(BUILD)/userlib/libmempool.a

.PHONY: pages
