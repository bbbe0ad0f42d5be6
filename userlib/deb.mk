# SPDX-License-Identifier: MIT OR GPL-2.0
#
# make deb: Debian packages, in build/deb, from a copy of the sources.

DEBSRC	:= $(BUILD)/deb/mempool

deb:
	@bash -c '. $(VM)/lib.sh; need_packages build-essential debhelper dh-dkms fakeroot valgrind'
	@rm -rf $(BUILD)/deb && mkdir -p $(DEBSRC)
	@cp -r Kbuild Makefile README.md COPYING LICENSES dkms.conf kmod uapi userlib \
		selftests debian $(DEBSRC)/
	@cd $(DEBSRC) && dpkg-buildpackage -us -uc -b >../build.log 2>&1 || \
		{ tail -n 30 ../build.log; exit 1; }
	@ls $(BUILD)/deb/*.deb

.PHONY: deb
