#!/usr/bin/env bash
# Builds the package and runs a short selection of its tests on several Pythons, one after the other, each with the oldest NumPy that the
# package takes (where there is a wheel of it) and with the newest.
#
#     packaging/pythons.sh                                # those that pyenv has, of 3.10 and later
#     packaging/pythons.sh python3.12 /opt/python3.14t    # these
#
# KEEP=folder keeps environments and logs; TESTS="..." is another selection; FASTNN_* and CC are as for setup.py.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=${KEEP:-$(mktemp -d)}
mkdir -p "$work"
[ -n "${KEEP:-}" ] || trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1
unset PYTHONPATH
tests=${TESTS:-tests/kernels tests/test_digests.py tests/optim tests/trainer tests/nn tests/test_typing.py tests/cli}

pythons=("$@")
if [ ${#pythons[@]} = 0 ]; then
    mapfile -t pythons < <(printf '%s\n' "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python | sort -V | while read -r p; do
        "$p" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo "$p"
    done)
fi

# The tree that is tested: the sources without the package, so that what is imported has been installed.
tree=$work/tree
rm -rf "$tree"
mkdir "$tree"
cp -r "$root"/{tests,docs,bench,examples,README.md,pyproject.toml,setup.py,csrc,conftest.py} "$tree"

for python in "${pythons[@]}"; do
    name=$("$python" -c 'import sys, sysconfig; print("%d.%d%s" % (*sys.version_info[:2], "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""))')
    env=$work/env-$name
    "$python" -m venv --clear "$env"
    "$env/bin/pip" wheel --no-deps --wheel-dir "$work/wheel-$name" "$root" >"$work/build-$name.log" 2>&1 || { tail -5 "$work/build-$name.log"; exit 1; }
    # 1.26 is the oldest that is declared; the first with wheels for 3.13 is 2.1, for 3.14 2.3
    for numpy in 'numpy==1.26.*' 'numpy==2.1.*' 'numpy==2.3.*' numpy; do
        [ "$numpy" = numpy ] || [ ! -e "$env/oldest" ] || continue
        "$env/bin/pip" install --upgrade --only-binary numpy "$numpy" >/dev/null 2>&1 || continue
        touch "$env/oldest"
        "$env/bin/pip" install --no-build-isolation "$work/wheel-$name"/fastnn-*.whl pytest pytest-benchmark hypothesis safetensors
        version=$("$env/bin/python" -c 'import numpy; print(numpy.__version__)')
        # shellcheck disable=SC2086
        (cd "$tree" && nice "$env/bin/python" -m pytest -x -p no:cacheprovider $tests) >"$work/test-$name-$version.log" 2>&1 ||
            { tail -30 "$work/test-$name-$version.log"; echo "$name with NumPy $version has failed"; exit 1; }
        echo "$name, NumPy $version: $(tail -1 "$work/test-$name-$version.log")"
    done
done
