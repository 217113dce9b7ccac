#!/usr/bin/env bash
# Builds libhyperseg_cpu_operators.so, with which ONNX Runtime runs exported networks faster on this machine's CPU.
set -euo pipefail

usage() {
  cat <<'EOF'
scripts/build_cpu_operators.sh [--out DIR]

  --out DIR  where libhyperseg_cpu_operators.so goes (default: out/cpu_operators, where the runtime looks for it)

Needs a C++ compiler, g++ 9 or clang++ 10 or newer, and nothing else; the variable CXX names another one than g++
("ccache g++", for instance), and CXXFLAGS adds options, but none that chooses instructions (-march, -mavx2).
The library is for this machine's CPU: on one that lacks its instructions it is refused. Beside it goes NAME.sha256, by
which the runtime knows that it belongs to these sources. Delete the library to go without.
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

read -ra cxx <<<"${CXX:-$(command -v g++ || command -v clang++ || true)}"
[ ${#cxx[@]} -gt 0 ] || fail "There is no C++ compiler." "Install one: apt-get install g++, or name it by the variable CXX."
command -v "${cxx[0]}" >/dev/null || fail "There is no compiler ${cxx[0]}, which the variable CXX names."
read -ra added <<<"${CXXFLAGS:-}"
for option in "${cxx[@]}" "${added[@]}"; do
  [[ $option != -m* ]] || fail "CXX or CXXFLAGS has $option." \
    "Leave it out: the instructions are chosen here, so that a CPU that lacks them refuses the library."
done

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
flags=(-std=c++17 -O3 -fPIC -fvisibility=hidden -Wall -Wextra)
"${cxx[@]}" "${flags[@]}" "${added[@]}" -c -x c++ /dev/null -o "$build/empty" && [ -s "$build/empty" ] ||
  fail "${cxx[*]} cannot compile C++17, not even an empty file." "Name another compiler by the variable CXX."

# Instructions beyond those that every CPU of its kind has. Each is named to the library too, which looks for them
# before it uses any; so it may not have others, which -march=native would give it. aarch64 needs none.
features=()
native=$("${cxx[@]}" -march=native -dM -E -x c++ /dev/null 2>/dev/null || true)
has() { grep -q "__$1__" <<<"$native"; }
if has AVX2 && has FMA; then
  features+=(avx2 fma)
  if has AVX512F && has AVX512VL && has AVX512DQ && has AVX512BW; then
    features+=(avx512f avx512vl avx512dq avx512bw)
  fi
fi

"${cxx[@]}" -mtune=native -E -x c++ /dev/null >/dev/null 2>&1 && flags+=(-mtune=native)
flags+=("${added[@]}")
needs=""
for feature in "${features[@]}"; do needs+="NEEDS(\"$feature\") "; done

version=$("${cxx[@]}" --version)
echo "Compiling with ${version%%$'\n'*}${needs:+, for ${features[*]}}"
sources=runtime/backends/onnx_operators
(cd "$sources" && sha256sum ./*.cpp ./*.h) >"$build/sha256"  # before anybody edits them while they are compiled
# library.o is linked first: of functions that several files define, such as std::vector's, the linker takes the first.
objects=("$build/library.o")
compilations=()
for source in "$sources"/*.cpp; do
  object=$build/$(basename "$source" .cpp).o
  if [ "$object" = "${objects[0]}" ]; then
    "${cxx[@]}" "${flags[@]}" "-DHYPERSEG_CPU_FEATURES=$needs" -c "$source" -o "$object" &
  else
    "${cxx[@]}" "${flags[@]}" "${features[@]/#/-m}" -c "$source" -o "$object" &
    objects+=("$object")
  fi
  compilations+=($!)
done
for compilation in "${compilations[@]}"; do wait "$compilation"; done

name=libhyperseg_cpu_operators.so
"${cxx[@]}" "${flags[@]}" -shared "${objects[@]}" -o "$build/$name"
(cd "$build" && sha256sum "./$name") >>"$build/sha256"
# A running program may have the old library open: it is replaced, not written into.
mkdir -p "$out"
cp "$build/$name" "$out/$name.new"
cp "$build/sha256" "$out/$name.sha256.new"
mv "$out/$name.new" "$out/$name"
mv "$out/$name.sha256.new" "$out/$name.sha256"
echo "Built $out/$name"
