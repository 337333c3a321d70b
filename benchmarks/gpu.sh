#!/usr/bin/env bash
# Everything that needs a GPU, by one command on a machine with CUDA: the tests marked `gpu`, then benchmarks/gpu.py.
#
#   bash benchmarks/gpu.sh [OUT_DIR]         (default: benchmarks/results/<date>-gpu)
#
# PYTHON   the interpreter that has torch for CUDA, and timm (default: .venv/bin/python if it is there, else python3)
# WHEELS   a folder of wheels for a machine without a network: whatever else is missing is installed from it
# DEVICE   cuda (default); with cpu, tiny sizes prove the script itself and no test is run
set -euo pipefail
cd "$(dirname "$0")/.."
out="${1:-benchmarks/results/$(date -u +%F)-gpu}"
device="${DEVICE:-cuda}"
if [ -n "${PYTHON:-}" ]; then python="$PYTHON"; elif [ -x .venv/bin/python ]; then python=.venv/bin/python; else python=python3; fi

if [ -n "${WHEELS:-}" ]; then  # beside the machine's own torch, which stays as it is
  "$python" -m venv --system-site-packages var/gpu-venv
  python=var/gpu-venv/bin/python
  "$python" -m pip install --quiet --no-index --no-deps "$WHEELS"/*.whl
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$out"
if [ "$device" = cpu ]; then
  exec "$python" benchmarks/gpu.py --device cpu --small --out "$out/gpu.json"
fi
"$python" -c 'import torch; assert torch.cuda.is_available(), "no CUDA device: DEVICE=cpu proves the script alone"'
failed=0
"$python" -m pytest -m gpu -q -p no:cacheprovider --junitxml "$out/tests.xml" tests || failed=$?
"$python" benchmarks/gpu.py --device cuda --tests "$out/tests.xml" --out "$out/gpu.json"
rm -f "$out/tests.xml"
exit "$failed"
