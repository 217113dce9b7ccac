#!/usr/bin/env bash
# Sets up a Jetson for the runtime: a .venv that sees JetPack's TensorRT, what pip adds to it, and the plugin library.
set -euo pipefail

usage() {
  cat <<'EOF'
scripts/jetson_setup.sh [--dry-run]

Run it on the board, as an ordinary user, in a copy of this project. It can be run again at any time.

  --dry-run    look, and print what would be done

JetPack 6.0, 6.1, 6.2, 7.0, 7.1 and 7.2. What comes from where:
  apt (JetPack)   TensorRT with its Python bindings and headers, CUDA with nvcc, cmake, GStreamer. The script installs
                  none of it: it names what is missing and the command that brings it.
  pip (.venv)     what requirements-runtime.lock lists (NumPy, OpenCV, ONNX Runtime for the CPU ...), pycuda, which is
                  compiled here against the board's CUDA, and cuda-python of CUDA's major version
  pip (system)    jetson-stats, if you want watts: its service and its library must be of one version

OpenCV is pip's, which has no GStreamer: the demo's csi:// source runs gst-launch-1.0.
EOF
}

fail() {
  printf '%s\n' "$@" >&2
  exit 2
}

dry_run=""
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage && exit ;;
    --dry-run) dry_run=1 ;;
    *) fail "There is no option $1." "See scripts/jetson_setup.sh --help" ;;
  esac
  shift
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Where the board's files are; another place only for the tests, which have no board.
root=${HYPERSEG_JETSON_ROOT:-}

run() {
  printf '+ %s\n' "$*"
  [ -n "$dry_run" ] || "$@"
}

# Which Jetson, and which JetPack: "# R36 (release), REVISION: 4.7, GCID: ..."
[ -f "$root/etc/nv_tegra_release" ] || fail "This is no Jetson: there is no /etc/nv_tegra_release." \
  "On a desktop run scripts/quickstart.sh; for TensorRT there: pip install '.[tensorrt]' in this folder." \
  "In a container on a Jetson, mount that file and the CUDA and TensorRT of the board, or run it outside."
release=$(sed -nE '1s/^# R([0-9]+) \(release\), REVISION: ([0-9]+)\.([0-9]+).*/\1 \2 \3/p' "$root/etc/nv_tegra_release")
[ -n "$release" ] || fail "/etc/nv_tegra_release does not say which Jetson Linux this is: $(head -n 1 "$root/etc/nv_tegra_release")"
read -r major minor patch <<<"$release"
case $major.$minor in
  36.3) jetpack=6.0 ;;
  36.4) [ "$patch" -lt 3 ] && jetpack=6.1 || jetpack=6.2 ;;
  36.*) [ "$minor" -ge 5 ] && jetpack=6.2 || jetpack="" ;;
  38.[23]) jetpack=7.0 ;;
  38.*) [ "$minor" -ge 4 ] && jetpack=7.1 || jetpack="" ;;
  39.*) [ "$minor" -ge 2 ] && jetpack=7.2 || jetpack="" ;;
  *) jetpack="" ;;
esac
[ -n "$jetpack" ] || fail "Jetson Linux $major.$minor.$patch is not served, only JetPack 6.0 to 6.2 (36.3 and later) and 7.0 to 7.2 (38, 39)." \
  "JetPack 5 has Python 3.8; the runtime needs 3.10. Flash a newer JetPack: https://developer.nvidia.com/embedded/jetpack"
chip=$(tr '\0' '\n' <"$root/proc/device-tree/compatible" 2>/dev/null | sed -n 's/^nvidia,\(tegra[0-9]*\)$/\1/p' | tail -n 1) || true
case $chip in
  tegra234) arch=87 board=Orin ;;
  tegra264) arch=110 board=Thor ;;
  *) fail "This board's chip (${chip:-unknown}) is neither Orin (tegra234) nor Thor (tegra264)." ;;
esac
case $jetpack in
  6.*) python=3.10 cuda=12 cuda_python='cuda-python>=12.6,<13' ;;
  7.*) python=3.12 cuda=13 cuda_python='cuda-python>=13,<14' ;;
esac
model=$(tr -d '\0' <"$root/proc/device-tree/model" 2>/dev/null || true)
echo "${model:-$board}: JetPack $jetpack (L4T $major.$minor.$patch), GPU architecture $arch"

# What apt gives. TensorRT's bindings exist for the system's Python only.
system_python=$root/usr/bin/python3
missing=()
need() { # PACKAGES WHAT COMMAND...
  local packages=$1 what=$2
  shift 2
  if "$@" >/dev/null 2>&1; then
    echo "  found    $what"
  else
    echo "  missing  $what"
    missing+=("$packages")
  fi
}
have_python() { [ "$("$system_python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = "$python" ]; }
have_headers() { [ -f "$root/usr/include/aarch64-linux-gnu/NvInferRuntime.h" ] || [ -f "$root/usr/include/NvInferRuntime.h" ]; }
have_cuda() { [ -x "$root/usr/local/cuda/bin/nvcc" ] && "$root/usr/local/cuda/bin/nvcc" --version | grep -q "release $cuda\."; }
echo "From apt:"
need python3 "Python $python (/usr/bin/python3)" have_python
need python3-venv "Python's venv" "$system_python" -c 'import ensurepip, venv'
need python3-dev "Python's headers, for pycuda" "$system_python" -c 'import pathlib, sysconfig; assert (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists()'
need nvidia-jetpack "TensorRT's Python bindings" "$system_python" -c 'import tensorrt'
need nvidia-jetpack "TensorRT's headers, for the plugin library" have_headers
need nvidia-jetpack "CUDA $cuda with nvcc (/usr/local/cuda)" have_cuda
need g++ "a C++ compiler" command -v g++
need cmake cmake command -v cmake
need gstreamer1.0-tools "gst-launch-1.0, for the source csi://" command -v gst-launch-1.0
if [ "${#missing[@]}" -gt 0 ]; then
  packages=$(printf '%s\n' "${missing[@]}" | sort -u | paste -sd ' ')
  [ -n "$dry_run" ] || fail "Install what is missing, then run this script again:" "  sudo apt-get update && sudo apt-get install $packages"
  echo "+ sudo apt-get update && sudo apt-get install $packages"
fi
if ! "$system_python" -c 'import jtop' >/dev/null 2>&1; then
  flag=""
  [ "$python" = 3.10 ] || flag="--break-system-packages "
  echo "  without  jetson-stats: reports will have no watts. If you want them: sudo pip3 install ${flag}-U jetson-stats, then log in again"
fi

# What pip adds. The lock's NumPy is 2, because its OpenCV asks for that; TensorRT is handed addresses, no arrays.
if [ -d .venv ] && [ -z "$root" ]; then
  grep -q '^include-system-site-packages = true' .venv/pyvenv.cfg || fail "There is a .venv that does not see the system's packages, so TensorRT is missing in it." \
    "Move it away (mv .venv .venv.old) and run this script again."
else
  run "$system_python" -m venv --system-site-packages .venv
fi
pip=(.venv/bin/python -m pip --disable-pip-version-check)
run "${pip[@]}" install --require-hashes -r requirements-runtime.lock
# pycuda has no wheel: it is compiled against the CUDA whose nvcc is on the PATH, where JetPack does not put it.
export PATH="$root/usr/local/cuda/bin:$PATH"
run "${pip[@]}" install 'pycuda>=2026.1' "$cuda_python"
if [ -z "$dry_run" ] && ! .venv/bin/python -c 'import cv2' 2>/dev/null; then
  version=$(.venv/bin/python -c 'from importlib.metadata import version; print(version("opencv-python"))')
  echo "This board has no libGL: taking OpenCV without windows (use --sink http://... to watch)."
  run "${pip[@]}" uninstall --yes opencv-python
  run "${pip[@]}" install "opencv-python-headless==$version"
fi

run scripts/build_plugin.sh --arch "$arch"

echo "+ import everything and call the driver"
[ -z "$dry_run" ] || exit 0
.venv/bin/python - <<'EOF'
import dataclasses
import importlib
import sys
from importlib.metadata import PackageNotFoundError, version

failed = []
packages = {"numpy": "numpy", "cv2": "opencv-python", "onnxruntime": "onnxruntime", "PIL": "pillow", "tqdm": "tqdm",
            "tensorrt": "tensorrt", "pycuda.driver": "pycuda", "runtime.demo": ""}
for module, package in packages.items():
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # a library that does not load raises anything
        failed.append(module)
        print(f"  {module:22} FAILED: {error}")
        continue
    try:
        number = getattr(imported, "__version__", "") or (version(package) if package else "")
    except PackageNotFoundError:
        number = "of an unknown version"
    print(f"  {module:22} {number}")

# cuda-python looks for the driver only when it is called.
try:
    try:
        from cuda.bindings import driver
    except ImportError:
        from cuda import cuda as driver  # where older versions of cuda-python have it
    (result,) = driver.cuInit(0)
    if result != driver.CUresult.CUDA_SUCCESS:
        failed.append("cuda-python")
    print(f"  {driver.__name__:22} {version('cuda-python')}, cuInit(0) returned {result.name}")
except Exception as error:
    failed.append("cuda-python")
    print(f"  {'cuda-python':22} FAILED: {error}")

from runtime.device.description import describe_device

for name, value in dataclasses.asdict(describe_device()).items():
    print(f"  {name:22} {value or 'not known'}")
sys.exit(f"These do not work: {', '.join(failed)}" if failed else 0)
EOF
echo "Done. Next: source .venv/bin/activate, then docs/jetson.md"
