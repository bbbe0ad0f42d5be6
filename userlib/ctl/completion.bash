# shellcheck shell=bash disable=SC2207
# SPDX-License-Identifier: MIT OR GPL-2.0
# Completion of mempoolctl's commands and options.
_mempoolctl() {
	local word=${COMP_WORDS[COMP_CWORD]}
	local commands='status top map pools watch trim suggest'
	local options='--json --prometheus --svg --delay --count --no-color --root --help --version'

	case ${COMP_WORDS[COMP_CWORD - 1]} in
	--root) COMPREPLY=($(compgen -d -- "$word")) ;;
	-d | --delay | -n | --count) COMPREPLY=() ;;
	*) COMPREPLY=($(compgen -W "$commands $options" -- "$word")) ;;
	esac
}
complete -F _mempoolctl mempoolctl
