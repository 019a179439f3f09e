#!/usr/bin/env bash
# Everything that waits for a GPU, in at most ten minutes.
#
#   benchmarks/on_a_gpu.sh OUT DSB2018 CROPS [LITE0.pth]
#
# OUT gets JSON, logs and weights; DSB2018, CROPS and LITE0.pth are the data of
# example_files/training/README.md. Run it where idrstream with its development extra and a PyTorch
# for the GPU are installed. Each step has a time limit; one that fails or is too slow does not stop
# the others, and the last lines say which. Another size, on another device:
#
#   DEVICE=cpu SHARE=0.1 benchmarks/on_a_gpu.sh OUT DSB2018 CROPS
#
# SHARE is of the pixels of a frame, the images, and the steps and epochs of both trainings; the time
# limits are multiplied by LIMITS; STEPS="gpu gpu_equal" runs these steps only.
set -u
{ # read as a whole, so that it may be edited while it runs
[ $# -ge 3 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2; }
out=$1 nuclei=$2 crops=$3 start=${4:-}
device=${DEVICE:-cuda} share=${SHARE:-1} python=${PYTHON:-python} limits=${LIMITS:-1}
cd "$(dirname "$0")/.." || exit 1
training=example_files/training
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)

# A number times a power of the share, rounded, at least one.
of() { "$python" -c "print(max(1, round($1 * $share ** ${2:-1})))"; }

if [ "$device" = cuda ] && ! "$python" -c 'import torch; raise SystemExit(not torch.cuda.is_available())'; then
    echo "PyTorch sees no GPU here; DEVICE=cpu SHARE=0.1 $0 tries the script on the processor" >&2
    exit 1
fi

failed=()
# step NAME SECONDS COMMAND...: run it, with its output in NAME.log.
step() {
    local name=$1 limit=$2 begun=$SECONDS status=0
    shift 2
    [[ " ${STEPS:-$name} " == *" $name "* ]] || return 0
    timeout "$("$python" -c "print(round($limit * $limits))")" "$@" >"$out/$name.log" 2>&1 || status=$?
    [ $status -eq 0 ] || failed+=("$name")
    printf '%-20s %4d s of %4d, exit status %d\n' "$name" $((SECONDS - begun)) "$limit" $status
    tail -n 12 "$out/$name.log"
}

height=$(of 1024 0.5) width=$(of 1344 0.5) per_frame=$(of 150)
frame=(--device "$device" --height "$height" --width "$width" --nuclei "$per_frame")
cores=$(nproc) half=()
[ "$cores" -gt 2 ] && workers=$((cores - 1)) || workers=0
"$python" - "$device" <<'PY' && half=(--bfloat16)
import sys
import torch
from idrstream.workers.precision import computes_in_bfloat16
raise SystemExit(not computes_in_bfloat16(torch.device(sys.argv[1])))
PY

# Images a second, where the time goes, memory; other precisions and larger groups, too.
step gpu 130 "$python" benchmarks/gpu.py "${frame[@]}" --images "$(of 480)" --frames "$(of 32)" \
    --batch "$(of 48)" --compare --out "$out/gpu.json"
# Masks and features against those of the processor.
step gpu_equal 70 "$python" benchmarks/gpu_equal.py "${frame[@]}" --frames "$(of 8)" --out "$out/gpu_equal.json"

# Both trainings at full length; what they write until then is kept when the limit ends them.
step simulate_nuclei 40 "$python" $training/simulate_nuclei.py "$out/simulated" --count "$(of 48)" --seed 100 --vary
step train_nuclei 170 "$python" $training/train_nuclei.py "$nuclei" --simulated "$out/simulated" \
    --out "$out/nuclei" --device "$device" --workers $workers --threads "$cores" --steps "$(of 12000)" --minutes 1.75 \
    --diameter 20 --crop 160 --batch "$(of 16 0.5)" --rate 3e-3 --decay 0.998 --every "$(of 500)" --seed 7 "${half[@]}"
step train_size 60 "$python" $training/train_size.py "$out/nuclei/average.pt" "$nuclei" \
    --simulated "$out/simulated" --validation $training/nuclei_validation.txt --out "$out" --repeats 1 \
    --images "$(of 400)" --threads "$cores"
how=(--epochs "$(of 120)" --rate 4e-3)
[ -z "$start" ] || how=(--epochs "$(of 30)" --start "$start")
step train_profiler 130 "$python" $training/train_profiler.py "$crops" --out "$out/profiler" \
    --device "$device" --threads "$cores" --seed 2 --strength 1.4 --surroundings 0.25 --agree 1 "${how[@]}"

echo "results in $out"
[ ${#failed[@]} -eq 0 ] || { echo "failed or too slow: ${failed[*]}" >&2; exit 1; }
exit 0
}
