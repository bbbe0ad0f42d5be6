# SPDX-License-Identifier: MIT OR GPL-2.0
#
# make install and make uninstall, for the Makefile at the top to include.
#
#	make install [PREFIX=/usr/local] [DESTDIR=] [KDIR=...]
#
# install-module and install-user do one half each. Everything is built before
# the first file is written. KO= and KVER= install a module built elsewhere.

PREFIX	?= /usr/local
LIBDIR	?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR	?= $(PREFIX)/sbin
MANDIR	?= $(PREFIX)/share/man
DOCDIR	?= $(PREFIX)/share/doc/mempool
RULESDIR ?= $(PREFIX)/lib/udev/rules.d
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
MODDIR	?= /lib/modules

KO	?= $(HOST)/mempool.ko
KVER	?= $(shell $(MAKE) -s -C $(KDIR) kernelrelease 2>/dev/null)
MODULE	= $(MODDIR)/$(KVER)/updates/mempool.ko

# What is installed, as SOURCE:DESTINATION:MODE; uninstall reads the same list.
manual	= $(1):$(MANDIR)/man$(subst .,,$(suffix $(1)))/$(notdir $(1)):644
INSTALLED = \
	uapi/mempool.h:$(INCLUDEDIR)/libmempool/uapi/mempool.h:644 \
	$(foreach h,$(wildcard userlib/libmempool*.h),$(h):$(INCLUDEDIR)/$(notdir $(h)):644) \
	$(BUILD)/userlib/libmempool.a:$(LIBDIR)/libmempool.a:644 \
	$(BUILD)/userlib/libmempool.so.1:$(LIBDIR)/libmempool.so.1:755 \
	$(CTL):$(BINDIR)/mempoolctl:755 \
	userlib/ctl/completion.bash:$(PREFIX)/share/bash-completion/completions/mempoolctl:644 \
	$(BUILD)/installed.pc:$(LIBDIR)/pkgconfig/libmempool.pc:644 \
	kmod/etc/60-mempool.rules:$(RULESDIR)/60-mempool.rules:644 \
	kmod/etc/sysusers.conf:$(SYSUSERSDIR)/mempool.conf:644 \
	kmod/etc/modules-load.conf:$(DOCDIR)/modules-load.conf:644 \
	kmod/etc/modprobe.conf:$(DOCDIR)/modprobe.conf:644 \
	README.md:$(DOCDIR)/README.md:644 \
	COPYING:$(DOCDIR)/COPYING:644 \
	uapi/sysfs-class-misc-mempool:$(DOCDIR)/sysfs-class-misc-mempool:644 \
	$(foreach m,$(wildcard userlib/man/*.[1-9]),$(call manual,$(m)))

# Directories that nobody else has, the innermost first.
OWN_DIRS = $(INCLUDEDIR)/libmempool/uapi $(INCLUDEDIR)/libmempool $(DOCDIR)

part	= $(word $(1),$(subst :, ,$(2)))

install: install-module install-user

# A module that is loaded stays what it is until it is loaded anew.
install-module: $(if $(filter file,$(origin KO)),module) may-install
	@[ -n "$(KVER)" ] || { echo >&2 'for which kernel? set KDIR or KVER'; exit 1; }
	@[ -f $(KO) ] || { echo >&2 'no module $(KO)'; exit 1; }
	@echo '  INSTALL $(DESTDIR)$(MODULE)'
	@install -D -m 644 $(KO) $(DESTDIR)$(MODULE)
	@[ -n '$(DESTDIR)' ] || depmod $(KVER)
	@[ -n '$(DESTDIR)' ] || [ ! -d /sys/module/mempool ] || \
		echo 'mempool is loaded: the new module is used after rmmod and modprobe'

install-user: userlib mempoolctl may-install
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
		-e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
		userlib/libmempool.pc.in >$(BUILD)/installed.pc
	@$(foreach f,$(INSTALLED),echo '  INSTALL $(DESTDIR)$(call part,2,$(f))' && \
		install -D -m $(call part,3,$(f)) $(call part,1,$(f)) \
			$(DESTDIR)$(call part,2,$(f)) &&) :
	@ln -sf libmempool.so.1 $(DESTDIR)$(LIBDIR)/libmempool.so
	@[ -n '$(DESTDIR)' ] || ldconfig

uninstall:
	rm -f $(foreach f,$(INSTALLED),$(DESTDIR)$(call part,2,$(f))) \
		$(DESTDIR)$(LIBDIR)/libmempool.so $(DESTDIR)$(MODDIR)/*/updates/mempool.ko
	@for d in $(OWN_DIRS:%=$(DESTDIR)%); do \
		[ ! -d $$d ] || rmdir --ignore-fail-on-non-empty $$d; done
	@[ -n '$(DESTDIR)' ] || { ldconfig; \
		for k in $(MODDIR)/*/modules.dep; do depmod "$$(basename "$$(dirname "$$k")")"; done; }

# Before anything is written: may we?
may-install:
	@mkdir -p '$(DESTDIR)$(PREFIX)' 2>/dev/null && [ -w '$(DESTDIR)$(PREFIX)' ] || { \
		echo >&2 'cannot write to $(DESTDIR)$(PREFIX): be root, or set DESTDIR'; exit 1; }

version_part = $(shell sed -n 's/^.define MEMPOOL_VERSION_$(1) //p' userlib/libmempool.h)
VERSION	= $(call version_part,MAJOR).$(call version_part,MINOR).$(call version_part,PATCH)

.PHONY: install install-module install-user uninstall may-install
