# SPDX-License-Identifier: MIT OR GPL-2.0
#
# What a person types. The module's objects are listed in Kbuild, the library
# has a Makefile of its own, and whatever runs in a guest is in selftests/vm.

KDIR	?= /lib/modules/$(shell uname -r)/build
KERNEL	?= 6.12
BUILD	:= build
O	:= $(CURDIR)/$(BUILD)
VM	:= selftests/vm
SUM	:= selftests/check/sum
HOST	:= $(BUILD)/host
COVERAGE ?= 97

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

help:
	@echo 'make all          the module for KDIR ($(KDIR)), library and tools'
	@echo 'make demo         boot a guest and see the examples at work'
	@echo 'make check        all tests below but those marked *; needs no KVM'
	@echo '  check-static    lint, documents against code, compile on 7.2'
	@echo '  check-unit      the core and the library in user space'
	@echo '  check-install   install, uninstall, programs built on what is installed'
	@echo '  check-tool      mempoolctl on made-up machines'
	@echo '  check-kernel    the device in a guest, KERNEL=6.1, 6.12 or 6.12-rt'
	@echo '                  (ONLY="NAME..." for some of the tests)'
	@echo '  check-rt        * the same with PREEMPT_RT'
	@echo '  check-debug     * the same with KASAN, lockdep, kmemleak and more; builds'
	@echo '                  the kernel first, about ten minutes, once'
	@echo '  coverage        * lines of the module that check-debug has run'
	@echo '  check-kcsan     * the same with KCSAN, which looks for data races'
	@echo '  check-packages  * the packages on Debian 12 and 13, and started with systemd;'
	@echo '                  root, about twenty minutes'
	@echo 'make bench        compare with malloc and others, about 15 minutes; QUICK=1: about 3'
	@echo 'make soak         random commands against a model, SECONDS=600, KERNEL='
	@echo 'make shell        a shell in a guest of KERNEL with module and tests'
	@echo 'make install      module, library, headers, manuals, udev rule: PREFIX= DESTDIR='
	@echo 'make uninstall    remove what make install has put there'
	@echo 'make deb          Debian packages, in $(BUILD)/deb'
	@echo 'make pictures     those of mempoolctl in the README, from a guest'
	@echo 'make clean        remove $(BUILD)/'
	@echo
	@echo 'Kernels are downloaded and unpacked in $${XDG_CACHE_HOME:-~/.cache}/mempool.'

# ---- building ---------------------------------------------------------------

all: module userlib mempoolctl

# The sources are copied, so that nothing is ever built among them.
module:
	@[ -e $(KDIR)/Makefile ] || { echo >&2 'no kernel headers in $(KDIR):' \
		'install linux-headers-$(shell uname -r) or set KDIR'; exit 1; }
	@mkdir -p $(HOST)
	@cp -ru Kbuild kmod uapi $(HOST)/
	$(MAKE) -C $(KDIR) M=$(O)/host modules

userlib: need-cc
	@$(MAKE) -C userlib O=$(O)/userlib

# What the rest needs on a machine that has make only (no-op without root).
need-cc:
	@bash -c '. $(VM)/lib.sh; need_packages gcc libc6-dev'

TESTS	:= $(patsubst selftests/%.c,%,$(wildcard selftests/*.c selftests/attack/*.c \
	selftests/fuzz/*.c))
TESTS32	:= $(patsubst selftests/%.c,%_32,$(if $(TESTS),$(shell \
	grep -l '^// also: 32-bit' $(TESTS:%=selftests/%.c))))
TESTDEP	:= $(wildcard selftests/*.h selftests/*/*.h) uapi/mempool.h Makefile
TESTCC	= gcc -std=gnu11 -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter \
	-Wno-missing-field-initializers -D_GNU_SOURCE -static \
	-I. -Iselftests -Iuserlib -isystem $(HARNESS)
TESTLIB	= -pthread -lm

# Every test may use the library; one of them runs the examples.
LIB	:= $(BUILD)/userlib/libmempool.a
LIB32	:= $(BUILD)/userlib32/libmempool.a

selftests: need-tests userlib pages
	@$(MAKE) -s -j2 HARNESS="$$(bash -c 'set -e; . $(VM)/lib.sh; \
		. $(VM)/kernel.sh; source_files')/include" \
		$(addprefix $(BUILD)/selftests/,$(TESTS) $(TESTS32)) \
		$(CTL)-static $(BUILD)/selftests/tool/hold

need-tests:
	@bash -c '. $(VM)/lib.sh; need_packages gcc libc6-dev gcc-multilib xz-utils'

$(BUILD)/selftests/%_32: selftests/%.c $(TESTDEP) $(LIB32)
	@mkdir -p $(@D)
	@echo '  CC      $@'
	@$(TESTCC) -m32 -o $@ $< $(LIB32) $(TESTLIB)

$(LIB32): $(wildcard userlib/*.[ch]) userlib/Makefile uapi/mempool.h
	@$(MAKE) -C userlib O=$(O)/userlib32 CFLAGS='-O2 -g -m32' static

$(BUILD)/selftests/%: selftests/%.c $(TESTDEP) $(LIB)
	@mkdir -p $(@D)
	@echo '  CC      $@'
	@$(TESTCC) -o $@ $< $(LIB) $(TESTLIB)

# The same tests, over the module.
$(addprefix $(BUILD)/selftests/,userlib_misuse userlib_misuse_32): \
	selftests/unit/userlib/test_misuse.c

# ---- running ----------------------------------------------------------------

demo: userlib
	@$(VM)/demo $(KERNEL)

shell: selftests
	@$(VM)/run --kernel $(KERNEL) --shell \
		$(foreach t,$(TESTS) $(TESTS32),--file $(BUILD)/selftests/$t)

# ---- testing ----------------------------------------------------------------

check:
	@$(SUM) '$(MAKE) check-static' '$(MAKE) check-unit' '$(MAKE) check-install' \
		'$(MAKE) check-tool' \
		'$(MAKE) check-kernel KERNEL=6.1' \
		'$(MAKE) check-kernel KERNEL=6.12'

check-static:
	@selftests/check/run

check-unit: need-tests
	@$(SUM) '$(MAKE) -C selftests/unit check' \
		'$(MAKE) -C selftests/unit/userlib check' selftests/unit/userlib/tools \
		selftests/unit/userlib/instructions \
		'selftests/bench/run --smoke'

check-kernel: selftests
	@$(VM)/kselftests $(KERNEL) $(ONLY)

check-rt:
	@$(MAKE) check-kernel KERNEL=6.12-rt

# All guests of one build of the module count for its coverage.
check-debug: selftests
	@$(SUM) '$(VM)/debug-kernel-test' '$(VM)/kselftests debug $(ONLY)' \
		$(if $(ONLY),,'$(VM)/debug-coverage --min $(COVERAGE)')

coverage:
	@$(VM)/debug-coverage --min $(COVERAGE)

check-kcsan: selftests
	@$(SUM) '$(VM)/debug-kernel-test --kcsan' '$(VM)/kselftests kcsan $(ONLY)'

bench:
	@selftests/bench/run $(if $(QUICK),--quick)

SECONDS	?= 600

# The first has that long, the second a quarter of it, the guest a little more
# for what is under way.
soak: selftests
	@$(VM)/run --kernel $(KERNEL) --name soak-$(KERNEL) --timeout $$(($(SECONDS) + 1200)) \
		-- $(BUILD)/selftests/fuzz/fuzz --seconds $(SECONDS) \
		-- $(BUILD)/selftests/fuzz/raw --seconds $$(($(SECONDS) / 4))

check-install: userlib
	@selftests/check/install

check-tool:
	@selftests/check/mempoolctl

check-packages:
	@selftests/check/packages

clean:
	rm -rf $(BUILD)

include userlib/ctl/ctl.mk
include userlib/install.mk
include selftests/pages.mk
include userlib/deb.mk

.PHONY: soak help all module userlib need-cc selftests need-tests demo shell check \
	check-static check-unit check-install check-tool check-packages check-kernel check-rt check-debug coverage \
	check-kcsan bench clean
