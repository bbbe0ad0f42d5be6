# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR GPL-2.0
#
# The kernels that the tests know, by the names people type:
#
#   6.1       as Debian 12 ships it, cloud flavour
#   6.12      as Debian 12 updates and Debian 13 ship it, cloud flavour
#   6.12-rt   the same with PREEMPT_RT
#   7.2       the newest source, prepared for compiling: not linked, not booted
#   debug     the newest source with KASAN, lockdep and the rest: debug-kernel
#   kcsan     the newest source with KCSAN: debug-kernel
#
#   kernel_select NAME    fetch and unpack what it takes, then set
#	KERNEL_IMAGE	what QEMU boots; empty for 7.2
#	KERNEL_MAKE	array: make command that lacks only M=DIR and targets
#	KERNEL_TREE	where scripts/ and include/ of that kernel are
#	KERNEL_RELEASE	what uname -r will say
#   source_tree SUITE RE  unpack a whole linux-source package; print its root
#   source_files          print where the few files of the kernel's source lie
#                         that the tests need (harness, checkpatch)
#
# lib.sh must have been read before.
# shellcheck disable=SC2034 # those who read this file use the variables

# Print the root of the newest source tree of SUITE whose package name matches
# RE. It is shared by all that build from it: with O=, never in place.
source_tree() {
	local suite=$1 re=$2 pkg version dir

	pkg=$(apt_newest "$suite" "$re")
	version=$(apt_version "$suite" "$pkg")
	dir=$(cached "source/${pkg}_$version" source_extract "$suite" "$pkg")
	printf '%s\n' "$dir"
}

source_extract() {
	local suite=$1 pkg=$2 dir=$3

	source_tar "$suite" "$pkg" "$dir" --strip-components=1
}

# Run tar on the archive inside package linux-source-*, without storing it.
source_tar() {
	local suite=$1 pkg=$2 dir=$3 deb rc=0
	need_packages xz-utils
	shift 3

	mkdir "$dir/.deb"
	apt_fetch "$suite" "$dir/.deb" "$pkg" || return 1
	deb=$(echo "$dir"/.deb/*.deb)
	say "unpacking $pkg"
	dpkg-deb --fsys-tarfile "$deb" |
		tar -xO "./usr/src/$pkg.tar.xz" |
		xz -dc -T0 | tar -x -C "$dir" "$@" || rc=1
	rm -rf "$dir/.deb"
	return $rc
}

source_files() {
	local pkg=linux-source-6.12 version

	version=$(apt_version bookworm "$pkg")
	cached "files/${pkg}_$version" source_pick bookworm "$pkg"
}

# The harness gives a test 30 seconds unless told otherwise, which says more
# about the machine than about the test: a guest under emulation on a busy
# machine is slow. A test that hangs still ends.
source_pick() {
	local suite=$1 pkg=$2 dir=$3
	local t=$pkg/tools/testing/selftests s=$pkg/scripts

	source_tar "$suite" "$pkg" "$dir" --strip-components=1 \
		"$t/kselftest_harness.h" "$t/kselftest.h" \
		"$s/checkpatch.pl" "$s/spelling.txt" \
		"$s/const_structs.checkpatch" "$s/kernel-doc" &&
	mv "$dir"/tools/testing/selftests "$dir/include" &&
	rm -r "$dir/tools" &&
	sed -i 's/\(TEST_TIMEOUT_DEFAULT\) 30\b/\1 600/' \
		"$dir/include/kselftest_harness.h" &&
	grep -q 'TEST_TIMEOUT_DEFAULT 600' "$dir/include/kselftest_harness.h"
}

# Debian's headers name their other half by an absolute path, which does not
# exist when they are only unpacked: take that half's Makefile directly.
kernel_debian() {
	local image headers common kbuild
	local re=$1

	image=$(apt_newest bookworm "$re")
	KERNEL_RELEASE=${image#linux-image-}
	kbuild=${KERNEL_RELEASE%-*-amd64}
	common=$kbuild-common
	[[ $KERNEL_RELEASE != *-rt-amd64 ]] || common+=-rt
	[[ $kbuild != 6.1.0-* ]] || kbuild=6.1
	KERNEL_IMAGE=$(apt_unpack bookworm "$image")/boot/vmlinuz-$KERNEL_RELEASE
	headers=$(apt_unpack bookworm "linux-headers-$KERNEL_RELEASE" \
		"linux-headers-$common" "linux-kbuild-$kbuild")/usr/src
	KERNEL_TREE=$headers/linux-headers-$common
	KERNEL_MAKE=(make -C "$headers/linux-headers-$KERNEL_RELEASE"
		-f "$KERNEL_TREE/Makefile")
}

# A prepared tree lacks Module.symvers, hence nothing can be linked against it.
kernel_prepared() {
	local build version

	KERNEL_IMAGE=
	KERNEL_TREE=$(source_tree unstable 'linux-source-7\.[0-9]+')
	version=${KERNEL_TREE##*_}
	build=$(cached "prepared/$version" kernel_prepare "$KERNEL_TREE")
	KERNEL_RELEASE=$(cat "$build/include/config/kernel.release")
	KERNEL_MAKE=(make -C "$KERNEL_TREE" "O=$build")
}

kernel_prepare() {
	local tree=$1 dir=$2

	say "preparing ${tree##*/} for compiling"
	{
		make -s -C "$tree" "O=$dir" defconfig &&
		"$tree/scripts/config" --file "$dir/.config" \
			-e MEMORY_FAILURE -e TRANSPARENT_HUGEPAGE -e NUMA \
			-e DEBUG_FS -e FTRACE -e FUNCTION_TRACER -e COMPAT_32 \
			-e IA32_EMULATION -e TRANSPARENT_HUGEPAGE_ALWAYS &&
		make -s -C "$tree" "O=$dir" olddefconfig &&
		make -s -j2 -C "$tree" "O=$dir" modules_prepare
	} </dev/null
}

# Built once by debug-kernel.
kernel_debug() {
	local build

	build=$("${BASH_SOURCE%/*}/debug-kernel" "$@")
	KERNEL_IMAGE=$build/arch/x86/boot/bzImage
	KERNEL_TREE=$(cat "$build/source-tree")
	KERNEL_RELEASE=$(cat "$build/include/config/kernel.release")
	KERNEL_MAKE=(make -C "$KERNEL_TREE" "O=$build")
}

kernel_select() {
	case $1 in
	6.1) kernel_debian 'linux-image-6\.1\.0-[0-9]+-cloud-amd64' ;;
	6.12) kernel_debian 'linux-image-6\.12\..*\+deb12-cloud-amd64' ;;
	6.12-rt) kernel_debian 'linux-image-6\.12\..*\+deb12-rt-amd64' ;;
	7.2) kernel_prepared ;;
	debug) kernel_debug ;;
	kcsan) kernel_debug --kcsan ;;
	*) die "unknown kernel: $1 (6.1, 6.12, 6.12-rt, 7.2, debug, kcsan)" ;;
	esac
}
