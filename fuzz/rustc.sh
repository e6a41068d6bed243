#!/bin/sh
# Stands between cargo and rustc for the crates of this workspace: has them say to libFuzzer where they have been. Compilers know these
# passes without any unstable option. Build scripts are run by nobody who would listen.
case " $* " in
*" --crate-name build_script_build "*) exec "$@" ;;
esac
exec "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
