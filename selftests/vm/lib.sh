# shellcheck shell=bash
# SPDX-License-Identifier: MIT OR GPL-2.0
#
# What every script of this directory shares: the cache, and Debian packages
# that are downloaded and unpacked there but never installed.
#
#   cache_dir             print the cache directory (made on demand)
#   need_packages PKG...  install what is missing of these (root), or say so
#   apt_run SUITE CMD...  run an apt command with a configuration of its own
#   apt_refresh SUITE     bring the suite's index up to date (once a day)
#   apt_newest SUITE RE   name of the newest package whose name matches RE
#   apt_version SUITE PKG version of the package the suite offers
#   apt_fetch SUITE DIR PKG...   download the .deb files into DIR
#   apt_unpack SUITE PKG...      unpack them together; print the directory
#   cached NAME CMD...    directory NAME of the cache, filled once by CMD
#
# SUITE is a Debian suite: bookworm (with its updates and security suites),
# trixie, unstable ... The mirror is the one in the machine's own apt sources.
# Nothing outside the cache is touched: apt gets its own state, index and
# sources below it, so no root is needed and the machine's apt never notices.

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

cache_dir() {
	local dir=${XDG_CACHE_HOME:-~/.cache}/mempool	# not $HOME: may be unset

	mkdir -p "$dir"
	printf '%s\n' "$dir"
}

need_packages() {
	local missing=() p

	for p; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" \
			= installed ] || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] ||
		die "please install first: apt-get install ${missing[*]}"
	say "installing: ${missing[*]}"
	install_packages "${missing[@]}" && return
	apt-get update -qq >&2 || die "apt-get update failed"
	install_packages "${missing[@]}" ||
		die "cannot install: ${missing[*]}"
}

# Quiet, unless it fails twice: the first failure is usually an old index.
install_packages() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends "$@" \
		</dev/null >"$(cache_dir)/apt-install.log" 2>&1
}

# Print the directory NAME of the cache. If it does not exist, CMD is run with
# an empty directory as its last argument, which gets that name only when CMD
# succeeds: the cache never holds half of anything. Parallel callers wait.
cached() {
	local cache name=$1 dir tmp
	shift

	cache=$(cache_dir)
	dir=$cache/$name
	if [ ! -d "$dir" ]; then
		mkdir -p "$(dirname "$dir")" "$cache/locks"
		(
			flock 9
			[ ! -d "$dir" ] || exit 0
			tmp=$(mktemp -d "$cache/tmp.XXXXXX")
			chmod 755 "$tmp"
			if "$@" "$tmp" >&2; then
				mv "$tmp" "$dir"
			else
				rm -rf "$tmp"
				exit 1
			fi
		) 9>"$cache/locks/${name//\//-}" || return 1
	fi
	printf '%s\n' "$dir"
}

# The archive the machine itself uses: $1 is the last component of its path,
# debian or debian-security.
apt_mirror() {
	# shellcheck disable=SC2016 # apt expands it
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
		sed -n "\#/$1\(/\|\$\)#p" | head -n 1
}

apt_sources() {
	local suite=$1 main security comp=main
	local opt='[arch=amd64 check-valid-until=no]'

	main=$(apt_mirror debian)
	[ -n "$main" ] || die "no Debian mirror in the machine's apt sources"
	echo "deb $opt $main $suite $comp"
	case $suite in
	sid | unstable | experimental) return ;;
	esac
	security=$(apt_mirror debian-security)
	: "${security:=${main%/debian*}/debian-security}"
	echo "deb $opt $main $suite-updates $comp"
	echo "deb $opt $security $suite-security $comp"
}

# The machine's settings for downloads (proxies and so on) are kept; its hooks
# and everything else are not: they might change the machine.
apt_conf() {
	local dir=$1

	apt-config dump | grep '^Acquire::[a-z]' |
		grep -v '^Acquire::\(IndexTargets\|Languages\|.*Check-\)'
	cat <<-CONF
	Acquire::Check-Valid-Until "false";
	Acquire::Check-Date "false";
	Acquire::Languages "none";
	Acquire::Retries "3";
	APT::Architecture "amd64";
	APT::Architectures { "amd64"; };
	APT::Sandbox::User "root";
	Dir::Etc::main "/dev/null";
	Dir::Etc::Parts "/dev/null";
	Dir::Etc::SourceList "$dir/sources.list";
	Dir::Etc::SourceParts "/dev/null";
	Dir::Etc::Preferences "/dev/null";
	Dir::Etc::PreferencesParts "/dev/null";
	Dir::State "$dir/state";
	Dir::State::Status "$dir/status";
	Dir::Cache "$dir/cache";
	CONF
}

apt_run() {
	local suite=$1 dir
	shift

	dir=$(cache_dir)/apt/$suite
	if [ ! -f "$dir/apt.conf" ]; then
		mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial"
		: >"$dir/status"
		apt_sources "$suite" >"$dir/sources.list" || return 1
		apt_conf "$dir" >"$dir/apt.conf.$$"
		mv "$dir/apt.conf.$$" "$dir/apt.conf"
	fi
	APT_CONFIG=$dir/apt.conf "$@" </dev/null
}

# An index that cannot be refreshed but exists is good enough: what is cached
# can be used without a network.
apt_refresh() {
	local suite=$1 stamp

	stamp=$(cache_dir)/apt/$suite.stamp
	mkdir -p "$(dirname "$stamp")"
	(
		flock 9
		[ -z "$(find "$stamp" -mmin -1440 2>/dev/null)" ] || exit 0
		say "reading the package index of $suite"
		if apt_run "$suite" apt-get update -qq >&2; then
			touch "$stamp"
		elif [ -f "$stamp" ]; then
			say "no new index of $suite, using the old one"
		else
			exit 1
		fi
	) 9>"$stamp.lock" || die "cannot read the package index of $suite"
}

apt_newest() {
	local suite=$1 re=$2 name

	apt_refresh "$suite"
	name=$(apt_run "$suite" apt-cache pkgnames | grep -E "^($re)\$" |
		sort -V | tail -n 1) || true
	[ -n "$name" ] || die "no package like $re in $suite"
	printf '%s\n' "$name"
}

apt_version() {
	local suite=$1 pkg=$2

	apt_refresh "$suite"
	apt_run "$suite" apt-cache show --no-all-versions "$pkg" |
		sed -n 's/^Version: //p'
}

# A file that is gone from the mirror means that the index is old.
apt_fetch() {
	local suite=$1 dir=$2
	shift 2

	apt_refresh "$suite"
	say "downloading from $suite: $*"
	(
		cd "$dir" || exit 1
		apt_run "$suite" apt-get download -qq "$@" >&2 && exit
		rm -f "$(cache_dir)/apt/$suite.stamp"
		apt_refresh "$suite"
		apt_run "$suite" apt-get download -qq "$@" >&2
	)
}

unpack_into() {
	local suite=$1 dir=${*: -1} deb
	local pkgs=("${@:2:$#-2}")

	mkdir "$dir/.deb"
	apt_fetch "$suite" "$dir/.deb" "${pkgs[@]}" || return 1
	for deb in "$dir"/.deb/*.deb; do
		dpkg-deb -x "$deb" "$dir" || return 1
	done
	rm -rf "$dir/.deb"
}

# The directory is named after the first package and its version.
apt_unpack() {
	local suite=$1 version

	version=$(apt_version "$suite" "$2")
	[ -n "$version" ] || die "no package $2 in $suite"
	cached "packages/$2_${version//[^A-Za-z0-9.+~-]/_}" \
		unpack_into "$suite" "${@:2}"
}
