"""paaplus: a continual-learning personalization platform for image aesthetics."""

import os

__version__ = "0.1.0"

# Before anything imports NumPy: matrices here are small, and several threads of linear algebra in several processes
# mostly wait for each other on busy cores. An operator's own values win. torch is told its number of threads by
# `PAAPLUS_TORCH_THREADS`.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
