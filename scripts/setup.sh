# Sourced by ./run and ./test: installs what is missing and builds. Quiet when nothing is to do, never asks a question.
# Sets: tree (the build folder).

say() { printf 'ballast: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# install_packages GROUP...: the packages of these groups that are missing, as root, through sudo, or by printing the command.
install_packages() {
  local wanted missing=() p groups=" $* "
  wanted=$(while read -r group package; do
    case "$group" in ''|'#'*) continue ;; esac
    case "$groups" in *" $group "*) echo "$package" ;; esac
  done <"$root/scripts/packages" | sort -u)
  local have
  have=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' $wanted 2>/dev/null | sed -n 's/^ii *//p' || true)
  for p in $wanted; do
    grep -qx "$p" <<<"$have" || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return 0
  command -v apt-get >/dev/null || die "these packages are missing and this is not a Debian system: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      as_root=(sudo -n)
    else
      die "packages are missing. As root, run:  apt-get install --no-install-recommends ${missing[*]}"
    fi
  fi
  say "installing ${#missing[@]} packages: ${missing[*]}"
  local log; log=$(mktemp)
  if ! { "${as_root[@]}" apt-get update -qq &&
         "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -5 "$log" >&2
    local absent=""
    for p in "${missing[@]}"; do
      apt-cache show "$p" >/dev/null 2>&1 || absent="$absent $p"
    done
    rm -f "$log"
    die "could not install:${absent:- ${missing[*]}}"
  fi
  rm -f "$log"
}

# The torch 2.x that python3 of the active environment would import, found without importing it (that takes seconds).
# Prints its folder. A CUDA build needs the CUDA toolkit to build against: without one it is passed over.
python_torch() {
  command -v python3 >/dev/null || return 1
  local found
  found=$(python3 - 2>/dev/null <<'PY'
import importlib.util, os, re, shutil
spec = importlib.util.find_spec("torch")
if spec and spec.submodule_search_locations:
    folder = spec.submodule_search_locations[0]
    text = open(os.path.join(folder, "version.py")).read()
    version = re.search(r"__version__ = ['\"](\d+)\.", text)
    cuda = re.search(r"^cuda[^=]*= ['\"]", text, re.M)
    cmake = os.path.isdir(os.path.join(folder, "share", "cmake", "Torch"))
    if version and version.group(1) == "2" and cmake:
        print("cuda" if cuda and not shutil.which("nvcc") else "ok", folder)
PY
  ) || return 1
  case "$found" in
    "ok "*) echo "${found#ok }" ;;
    "cuda "*) say "passing over ${found#cuda }: a CUDA build, and there is no CUDA toolkit here"; return 1 ;;
    *) return 1 ;;
  esac
}

# set_up WITH_WHEEL GROUP...: LibTorch, packages, configured build tree in $tree.
set_up() {
  local with_wheel=$1; shift
  local torch_dir="" groups=(build "$@")
  if [ "$with_wheel" = 1 ]; then
    install_packages "${groups[@]}" wheel
    local venv="$root/build/venv"
    if ! [ -e "$venv/torch-2.13.0" ]; then
      say "installing torch 2.13.0 into build/venv: about 200 MB to download for a CPU build, several GB where only a CUDA build is offered"
      /usr/bin/python3 -m venv "$venv" || die "python3-venv could not make $venv"
      local log="$root/build/venv.log"
      "$venv/bin/pip" install --quiet "torch==2.13.0+cpu" numpy >"$log" 2>&1 ||
        "$venv/bin/pip" install --quiet "torch==2.13.0" numpy >"$log" 2>&1 ||
        { tail -5 "$log" >&2; die "pip could not install torch==2.13.0 (log: build/venv.log)"; }
      touch "$venv/torch-2.13.0"
    fi
    torch_dir=$(echo "$venv"/lib/python3*/site-packages/torch)
    tree="$root/build/wheel"
  elif [ -n "${Torch_DIR:-}${CMAKE_PREFIX_PATH:-}" ]; then
    install_packages "${groups[@]}"
    # One tree for each place, so that another LibTorch never disturbs this one.
    tree="$root/build/torch-$(printf '%s' "${Torch_DIR:-}${CMAKE_PREFIX_PATH:-}" | cksum | cut -d' ' -f1)"
  elif torch_dir=$(python_torch); then
    install_packages "${groups[@]}"
    tree="$root/build/torch-$(printf '%s' "$torch_dir" | cksum | cut -d' ' -f1)"
  else
    install_packages "${groups[@]}" libtorch
    torch_dir=""
    tree="$root/build/release"
  fi

  local options=()
  if [ -n "$torch_dir" ]; then
    options+=("-DTorch_DIR=$torch_dir/share/cmake/Torch")
  elif [ "$tree" = "$root/build/release" ]; then
    options+=("-DTorch_DIR=$(dirname "$(dpkg -L libtorch-dev | grep '/TorchConfig.cmake$')")")
  fi
  [ -n "${Torch_DIR:-}" ] && options+=("-DTorch_DIR=$Torch_DIR")
  [ "${CI:-}" = true ] && options+=(-DBALLAST_WERROR=ON)
  options+=(-DBALLAST_UNITY="${BALLAST_UNITY:-ON}")
  # ./run needs no tests; a tree that has them keeps them.
  case " $* " in *" test "*) options+=(-DBALLAST_TESTS=ON) ;;
    *) [ -e "$tree/build.ninja" ] || options+=(-DBALLAST_TESTS=OFF) ;; esac
  if [ ! -e "$tree/build.ninja" ] || { [[ " $* " = *" test "* ]] && ! grep -q '^BALLAST_TESTS:.*=ON' "$tree/CMakeCache.txt"; }; then
    say "configuring ${tree#"$root"/}"
    mkdir -p "$tree"
    cmake -S "$root" -B "$tree" -G Ninja -DCMAKE_BUILD_TYPE=Release "${options[@]}" >"$tree/configure.log" 2>&1 ||
      { tail -20 "$tree/configure.log" >&2; die "configuring failed (log: ${tree#"$root"/}/configure.log)"; }
  fi
}

# build TARGET...: quiet when nothing is to do, ninja's progress on a terminal, the failure's last lines otherwise.
build() {
  if ninja -C "$tree" -n "$@" 2>/dev/null | grep -q 'no work to do'; then return 0; fi
  say "building ${tree#"$root"/} (several minutes the first time)"
  if [ -t 2 ]; then
    ninja -C "$tree" "$@" >&2 || die "the build failed"
  else
    ninja -C "$tree" "$@" >"$tree/build.log" 2>&1 || { grep -E -A12 'error|FAILED' "$tree/build.log" | head -60 >&2; die "the build failed (log: ${tree#"$root"/}/build.log)"; }
  fi
}
