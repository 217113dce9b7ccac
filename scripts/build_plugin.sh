#!/usr/bin/env bash
# Builds libhyperseg_plugins.so, which gives TensorRT the operators of the exported files.
set -euo pipefail

usage() {
  cat <<'EOF'
scripts/build_plugin.sh [--tensorrt-root DIR | --tensorrt-major N] [--arch LIST] [--aarch64 DIR] [--runner] [--out DIR]

  --tensorrt-root DIR  TensorRT whose headers to use: a folder with include/NvInferRuntime.h. Without it: the variable
                       TENSORRT_ROOT, then the system's folders (deb packages, JetPack), then the project's own
                       declarations for TensorRT 10
  --tensorrt-major N   use the project's own declarations for TensorRT 10 or 11, look for no headers
  --arch LIST          GPU architectures such as 87,90. Without it: those of 72, 75, 80, 86, 87, 89, 90, 100, 110 and
                       120 that the CUDA toolkit has; with --aarch64 those of 72, 87 and 110
  --aarch64 DIR        cross-build for a Jetson. DIR is the CUDA runtime for aarch64, of the same release as nvcc: a
                       folder with include/cuda_runtime_api.h and lib/libcudart_static.a. The system's headers of
                       TensorRT are then those in /usr/include/aarch64-linux-gnu
  --runner             build hyperseg_run as well (runtime/cpp), which runs engines without Python. It links TensorRT's
                       libraries: with --tensorrt-root or TENSORRT_ROOT those in DIR/lib, otherwise the system's
  --out DIR            where tensorrtN/libhyperseg_plugins.so goes, with --aarch64 aarch64/tensorrtN/...
                       (default: out/plugin)

The library links nothing of TensorRT; it serves all releases of one major version of TensorRT.
EOF
}

fail() {
  printf '%s\n' "$@" >&2
  exit 2
}

root="" major="" arch="" runtime="" runner="" out=""
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit ;;
    --runner) runner=yes && shift ;;
    --tensorrt-root | --tensorrt-major | --arch | --aarch64 | --out)
      [ -n "${2:-}" ] || fail "$1 needs a value." "See scripts/build_plugin.sh --help"
      case $1 in
        --tensorrt-root) root=$2 ;;
        --tensorrt-major) major=$2 ;;
        --arch) arch=$2 ;;
        --aarch64) runtime=$(realpath -m "$2") ;;
        --out) out=$(realpath -m "$2") ;;
      esac
      shift 2
      ;;
    *) fail "There is no option $1." "See scripts/build_plugin.sh --help" ;;
  esac
done
[ -z "$root" ] || [ -z "$major" ] || fail "--tensorrt-root and --tensorrt-major exclude each other: the headers say which version they are."
[ -z "$runner" ] || [ -z "$major$runtime" ] || fail "--runner excludes --tensorrt-major and --aarch64." \
  "hyperseg_run needs TensorRT's own headers and libraries, of the machine that runs it: build it there."
case $major in "" | 10 | 11) ;; *) fail "--tensorrt-major is $major; the project declares TensorRT 10 and 11. For 8.5 and 8.6 use --tensorrt-root." ;; esac
[ -z "$root" ] || root=$(realpath -m "$root")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${out:-$PWD/out/plugin}${runtime:+/aarch64}

# The CUDA compiler: JetPack installs it without putting it on the PATH.
nvcc=${CUDACXX:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
command -v "$nvcc" >/dev/null || fail "There is no CUDA compiler (nvcc)." \
  "Install the CUDA toolkit, or put its nvcc on the PATH or into the variable CUDACXX."
command -v cmake >/dev/null || fail "There is no cmake. Install it: apt-get install cmake, or pip install cmake."
release=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')

# A cross-build takes another compiler, CUDA runtime and folder of headers than this machine's.
platform=$(uname -m) system=/usr/include served="72 75 80 86 87 89 90 100 110 120" cross=()
if [ -n "$runtime" ]; then
  [ "$platform" != aarch64 ] || fail "This machine is an aarch64 itself: build without --aarch64."
  cxx=${CXX:-aarch64-linux-gnu-g++}
  command -v "$cxx" >/dev/null || fail "There is no compiler $cxx." \
    "Install it: apt-get install g++-aarch64-linux-gnu, or name a C++ compiler for aarch64 by the variable CXX."
  machine=$("$cxx" -dumpmachine)
  [[ $machine == aarch64-* ]] || fail "The variable CXX is $cxx, which compiles for $machine." \
    "With --aarch64 it must name a compiler for aarch64; without it aarch64-linux-gnu-g++ is taken."
  [[ $runtime != *" "* ]] || fail "There is a space in $runtime, which CMake cannot pass to nvcc: move the folder."
  for file in include/cuda_runtime_api.h lib/libcudart_static.a; do
    [ -f "$runtime/$file" ] || fail "$runtime holds no $file." \
      "--aarch64 is the folder of the CUDA runtime for aarch64; docs/plugin.md says where to get it."
  done
  version=$(sed -n 's/^#define CUDART_VERSION *//p' "$runtime/include/cuda_runtime_api.h")
  version=$((version / 1000)).$((version % 1000 / 10))
  [ "$version" = "$release" ] || fail "$runtime is CUDA $version, but $nvcc is CUDA $release." \
    "Take the runtime of the same release, or put the nvcc of that release into the variable CUDACXX."
  [[ $(readelf -h "$runtime/lib/libcudart_static.a") == *AArch64* ]] || fail "$runtime is not for aarch64." \
    "A CUDA toolkit holds the runtimes for other processors, if installed, in targets/; see docs/plugin.md."
  # CUDA's headers are the same for all processors, so nvcc keeps its own.
  cross=(-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER="$cxx"
    -DCMAKE_CUDA_HOST_COMPILER="$cxx" -DCMAKE_CUDA_FLAGS="-target-dir $platform-linux -L$runtime/lib")
  platform=aarch64 system="" served="72 87 110"
fi

# TensorRT's headers.
include="" found=""
if [ -n "$root" ]; then
  [ -f "$root/include/NvInferRuntime.h" ] || fail "$root holds no include/NvInferRuntime.h." \
    "--tensorrt-root is the folder of an unpacked TensorRT, or any that has its include/."
  include=$root/include found=--tensorrt-root
elif [ -z "$major" ] && [ -n "${TENSORRT_ROOT:-}" ]; then
  [ -f "$TENSORRT_ROOT/include/NvInferRuntime.h" ] || fail "TENSORRT_ROOT is $TENSORRT_ROOT, which holds no include/NvInferRuntime.h." \
    "Correct the variable, or unset it to take the system's headers."
  root=$(realpath "$TENSORRT_ROOT") include=$TENSORRT_ROOT/include found=TENSORRT_ROOT
elif [ -z "$major" ]; then
  for folder in "/usr/include/$platform-linux-gnu" $system; do
    if [ -f "$folder/NvInferRuntime.h" ]; then
      include=$folder found="the system"
      break
    fi
  done
fi
if [ -n "$include" ]; then
  # 11 writes NV_TENSORRT_MAJOR as the name of another macro: the compiler resolves it.
  version=$(printf '#include <NvInferVersion.h>\nNV_TENSORRT_MAJOR NV_TENSORRT_MINOR\n' |
    "${CXX:-g++}" -E -P -x c++ -I "$include" - | tail -n 1)
  read -r major minor <<<"$version"
  case $major.$minor in
    8.[56] | 10.* | 11.*) ;;
    *) fail "$include is TensorRT $major.$minor; the plugin serves 8.5, 8.6, 10 and 11." ;;
  esac
  echo "TensorRT $major.$minor, headers in $include (from $found)"
elif [ -n "$runner" ]; then
  fail "TensorRT's headers are not installed, which --runner needs." \
    "Install libnvinfer-dev and libnvonnxparsers-dev (JetPack: nvidia-jetpack), or use --tensorrt-root."
else
  major=${major:-10}
  echo "TensorRT $major, the project's own declarations (trt_plugins/abi)"
fi

# GPU architectures.
known=$("$nvcc" --help | grep -o 'compute_[0-9]*\b' | sed 's/compute_//' | sort -nu)
if [ -z "$arch" ]; then
  for sm in $served; do
    grep -qx "$sm" <<<"$known" && arch=${arch:+$arch,}$sm
  done
fi
[ -n "$arch" ] || fail "$nvcc has none of the GPU architectures that the plugin serves; name some with --arch."
arch=$(tr , '\n' <<<"$arch" | sort -nu | paste -sd,) # the last one is the newest
for sm in ${arch//,/ }; do
  grep -qx "$sm" <<<"$known" || fail "$nvcc has no architecture $sm; it has $(echo $known)."
done
echo "CUDA $release, architectures $arch"

if [ -n "$runner" ]; then
  rm -rf "$out/tensorrt$major/runner-build" # CMake would keep the TensorRT of the last time
  # It takes the CUDA runtime of the first nvcc on the PATH.
  PATH=$(dirname "$(command -v "$nvcc")"):$PATH cmake -S runtime/cpp -B "$out/tensorrt$major/runner-build" \
    -DTENSORRT_ROOT="$root"
  cmake --build "$out/tensorrt$major/runner-build" --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"
fi
build=$out/tensorrt$major/build
# CMake keeps for ever what it once found out about the compiler; the aarch64 runtime is part of that.
[ -z "$runtime" ] || rm -rf "$build"
cmake -S trt_plugins -B "$build" -DCMAKE_CUDA_COMPILER="$nvcc" -DCMAKE_CUDA_ARCHITECTURES=OFF "${cross[@]}" \
  -DTENSORRT_MAJOR="$major" -DTENSORRT_INCLUDE_DIR="$include" -DGPU_ARCHITECTURES="${arch//,/;}"
cmake --build "$build" --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"

# A running program may have the old file open: replace it, do not write into it.
place() {
  cp "$1" "$out/tensorrt$major/$(basename "$1").new"
  mv "$out/tensorrt$major/$(basename "$1").new" "$out/tensorrt$major/$(basename "$1")"
  echo "Built $out/tensorrt$major/$(basename "$1")"
}
place "$build/libhyperseg_plugins.so"
[ -z "$runner" ] || place "$out/tensorrt$major/runner-build/hyperseg_run"
if [ -n "$runtime" ] && [ "${release%%.*}" -ge 13 ]; then
  echo "CUDA $release serves JetPack 7 (Orin from 7.2). The older drivers of JetPack 5 and 6 need CUDA 11.4 or 12."
fi
