#!/usr/bin/env bash
# The report in a real browser: a quick study of the demo pair on rendered scenes, and one whose files and pair have names
# that look like markup; then headless Chromium opens both pages and uses them (tests/report/check.py).
# Needs python3 and chromium; where these are missing it fails. KEEP=FOLDER keeps the studies and screenshots there.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${KEEP:-$(mktemp -d)}
mkdir -p "$out"
[ -n "${KEEP:-}" ] || trap 'rm -rf "$out"' EXIT
screenshots=(${KEEP:+--screenshots "$out/screenshots"})

quick=(--no-timing --resamples 200 --out)
quantlens() { cargo run --release --quiet -p quantlens-cli -- "$@"; }

quantlens study --pair demo:f32,demo:int8 --data scenes:study:0..40 "${quick[@]}" "$out/scenes" >/dev/null
python3 tests/report/check.py "$out/scenes/report.html" ${screenshots[@]+"${screenshots[@]}"}

# The ids of records are relative paths: a folder `<` that holds `script>.png` makes one of them `</script>.png`.
names="$out/names"
mkdir -p "$names/<"
quantlens render --start 100 --count 5 --out "$out/plain" >/dev/null
odd=("<img src=x onerror=alert(1)>.png" "\"quotes' & <b>.png" "<!--.png" "back\\slash.png" "</script>.png")
i=0
for picture in "$out"/plain/*.png; do
    cp "$picture" "$names/${odd[$i]}"
    i=$((i + 1))
done
pair="\"><script>alert('1')&"
quantlens study --pair "$pair=demo:f32,demo:int8" --data "$names" "${quick[@]}" "$out/markup" >/dev/null
python3 tests/report/check.py "$out/markup/report.html"
