#!/usr/bin/env bash
# Builds libhyperseg_cpu_operators.so, with which ONNX Runtime runs exported networks faster on this machine's CPU.
set -euo pipefail

usage() {
  cat <<'EOF'
scripts/build_cpu_operators.sh [--out DIR]

  --out DIR  where libhyperseg_cpu_operators.so goes (default: out/cpu_operators, where the runtime looks for it)

Needs a C++ compiler, g++ 9 or clang++ 10 or newer, and nothing else; the variable CXX names another one than g++, and
CXXFLAGS adds options.
The library is for this machine's CPU: on one that lacks its instructions it is refused. Delete it to go without.
EOF
}

fail() {
  printf '%s\n' "$@" >&2
  exit 2
}

out=""
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit ;;
    --out)
      [ -n "${2:-}" ] || fail "--out needs a value." "See scripts/build_cpu_operators.sh --help"
      out=$(realpath -m "$2")
      shift 2
      ;;
    *) fail "There is no option $1." "See scripts/build_cpu_operators.sh --help" ;;
  esac
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${out:-$PWD/out/cpu_operators}

cxx=${CXX:-$(command -v g++ || command -v clang++ || true)}
[ -n "$cxx" ] || fail "There is no C++ compiler." "Install one: apt-get install g++, or name it by the variable CXX."
command -v "$cxx" >/dev/null || fail "There is no compiler $cxx, which the variable CXX names."

# Instructions beyond those that every CPU of its kind has. Each is named to the library too, which looks for them
# before it uses any; so it may not have others, which -march=native would give it. aarch64 needs none.
features=()
native=$("$cxx" -march=native -dM -E -x c++ /dev/null 2>/dev/null || true)
has() { grep -q "__$1__" <<<"$native"; }
if has AVX2 && has FMA; then
  features+=(avx2 fma)
  if has AVX512F && has AVX512VL && has AVX512DQ && has AVX512BW; then
    features+=(avx512f avx512vl avx512dq avx512bw)
  fi
fi

flags=(-std=c++17 -O3 -fPIC -fvisibility=hidden -Wall -Wextra)
"$cxx" -mtune=native -E -x c++ /dev/null >/dev/null 2>&1 && flags+=(-mtune=native)
read -ra added <<<"${CXXFLAGS:-}"
flags+=("${added[@]}")
needs=""
for feature in "${features[@]}"; do needs+="NEEDS(\"$feature\") "; done

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
echo "Compiling with $("$cxx" --version | head -n 1)${needs:+, for ${features[*]}}"
compilations=()
for source in runtime/backends/onnx_operators/*.cpp; do
  object=$build/$(basename "$source" .cpp).o
  case $source in
    */library.cpp) "$cxx" "${flags[@]}" "-DHYPERSEG_CPU_FEATURES=$needs" -c "$source" -o "$object" & ;;
    *) "$cxx" "${flags[@]}" "${features[@]/#/-m}" -c "$source" -o "$object" & ;;
  esac
  compilations+=($!)
done
for compilation in "${compilations[@]}"; do wait "$compilation"; done

# library.o comes first: of functions that several files define, such as std::vector's, the linker takes the first. A
# running program may have the old library open: it is replaced, not written into.
mkdir -p "$out"
"$cxx" "${flags[@]}" -shared "$build/library.o" $(ls "$build"/*.o | grep -v /library.o) -o "$out/libhyperseg_cpu_operators.so.new"
mv "$out/libhyperseg_cpu_operators.so.new" "$out/libhyperseg_cpu_operators.so"
echo "Built $out/libhyperseg_cpu_operators.so"
