# What .ci/run and .ci/nightly have in common. Both source it in the root of the repository.
set -euo pipefail

set -m # what runs in the background is a process group, to be ended as a whole
scratch=$(mktemp -d)
finished=() # lines of the table of steps

# step NAME begins a step, which ends where the next one begins.
step() {
  end_step
  name=$* began=$SECONDS used=$(cpu)
  printf '\n== %s (%s)\n' "$name" "$(date +%T)"
}

end_step() {
  [ -n "${name:-}" ] || return 0
  finished+=("$(printf '%6d s %6d s  %s' $((SECONDS - began)) $(($(cpu) - used)) "$name")")
  printf -- '-- took %s s\n' $((SECONDS - began))
  name=
}

# cpu prints the seconds of processor time that all commands have taken.
cpu() { awk '{ print int(($16 + $17) / 100) }' /proc/$$/stat; }

finish() {
  local code=$?
  [ $code = 0 ] || printf '\nfailed in: %s\n' "${name:-start}"
  end_step
  for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || true; done
  printf '\n%8s %8s\n' time cpu
  printf '%s\n' "${finished[@]}"
  printf '%6d s %6d s  in all\n' "$SECONDS" "$(cpu)"
  chmod -R u+w "$scratch" && rm -rf "$scratch"
  exit $code
}
trap finish EXIT

# install_packages installs packages of Debian that are missing, if this is Debian and may be done.
install_packages() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return 0; fi
  local package missing=() ours=
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # The servers are started by the tests, not by the installation.
  [ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; ours=yes; }
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  [ "$ours" != yes ] || rm -f /usr/sbin/policy-rc.d
}

# install_program MODULE/NAME@VERSION puts a program of a Go module on PATH. It is kept for later runs on this machine.
install_program() {
  local dir=${XDG_CACHE_HOME:-$HOME/.cache}/k6x-ci/tools/${1##*/}
  if [ ! -d "$dir" ]; then
    # Compiled in less than half the time: not optimized, and of Caddy without the databases of its certificate authority.
    CGO_ENABLED=0 GOBIN=$scratch/bin/${1##*/} go install -gcflags='all=-N -l -dwarf=false' -gcflags=std= -ldflags=-w \
      -tags=nobadger,nomysql,nopgx "$1"
    mkdir -p "${dir%/*}"
    mv -T "$scratch/bin/${1##*/}" "$dir" # at once, so that it is whole or not there
  fi
  export PATH="$dir:$PATH"
}

# install_npm NAME@VERSION puts the programs of a package of npm on PATH. It is kept for later runs on this machine.
install_npm() {
  local dir=${XDG_CACHE_HOME:-$HOME/.cache}/k6x-ci/tools/$1
  if [ ! -d "$dir" ]; then
    npm install --silent --no-audit --no-fund --prefix "$scratch/npm" "$1"
    mkdir -p "${dir%/*}"
    mv -T "$scratch/npm" "$dir"
  fi
  export PATH="$dir/node_modules/.bin:$PATH"
}

# browser_packages prints the packages of Debian that the tests of pages need; install_checkers installs the rest: what judges HTML, and how accessible it is.
browser_packages() {
  echo chromium default-jre-headless fonts-dejavu-core
  command -v npm >/dev/null || echo nodejs npm # a Node of another source brings its own
}

install_checkers() {
  install_npm axe-core@4.14.1
  install_npm vnu-jar@26.9.27
}

# packages_with PATTERN prints import path and directory of the packages whose test files have a line that matches.
packages_with() {
  local file package
  go list -f '{{$p := .}}{{range .TestGoFiles}}{{$p.Dir}}/{{.}} {{$p.ImportPath}}
{{end}}{{range .XTestGoFiles}}{{$p.Dir}}/{{.}} {{$p.ImportPath}}
{{end}}' ./... >"$scratch/files"
  while read -r file package; do
    if grep -q "$1" "$file"; then echo "$package ${file%/*}"; fi
  done <"$scratch/files" | sort -u
}

# fuzz TIME tries each fuzz target for so long, two at a time. Only the packages of this module are instrumented, as to compile all
# that they need anew would take most of the time.
fuzz() {
  local package dir binary targets target
  packages_with '^func Fuzz' >"$scratch/packages"
  mkdir "$scratch/fuzz"
  cut -d ' ' -f 1 "$scratch/packages" | xargs go test -c -vet=off -gcflags='k6x/...=-d=libfuzzer' -o "$scratch/fuzz/"
  while read -r package dir; do
    binary=$scratch/fuzz/${package##*/}.test
    targets=$(cd "$dir" && "$binary" -test.list '^Fuzz')
    [ -n "$targets" ] || { echo "$package has no fuzz targets" >&2; return 1; }
    for target in $targets; do echo "$target $binary $dir"; done
  done <"$scratch/packages" >"$scratch/targets"
  export scratch
  export -f fuzz_target
  xargs -L 1 -P 2 bash -c 'fuzz_target "$0" "$@"' "$1" <"$scratch/targets"
}

# fuzz_target TIME TARGET BINARY DIRECTORY tries one of them.
fuzz_target() {
  local log=$3.$2.log
  # A run whose time ends in the middle of an input sometimes fails with nothing but
  # "context deadline exceeded": that is no finding. One that found something says so.
  if ! (cd "$4" && "$3" -test.run "^$2\$" -test.fuzz "^$2\$" -test.fuzztime "$1" -test.fuzzminimizetime 20x -test.parallel 1 \
    -test.fuzzcachedir "$3.inputs") </dev/null >"$log" 2>&1; then
    if grep -q 'Failing input written' "$log" || ! grep -q 'context deadline exceeded' "$log"; then
      cat "$log"
      return 1
    fi
  fi
  if grep -q 'without coverage guidance' "$log"; then
    echo "$2 is not instrumented"
    return 1
  fi
  echo "$2: $(grep '^fuzz: elapsed' "$log" | tail -1)"
}
