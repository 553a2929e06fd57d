# %% [markdown]
# # 11 Several GPUs and nodes
#
# At the end you have run a weighted posterior sampler whose particles are shared out over processes, and the same draws in one. The script
# is what you start on GPUs and nodes; here it runs on the CPU. The data are readings of a Gaussian whose evidence is known in closed form.

# %%
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch

SMALL = os.environ.get("PHYSDIFF_SMALL") == "1"
processes = 1 if SMALL else 2

# %% [markdown]
# One script for every number of processes: `Sharded(count)` stands where a method asks for the number of its particles. Every process gets
# the whole ensemble; only the work is shared.

# %%
Path("draw.py").write_text(
    """
import sys
import torch
import torch.distributed as dist
import physdiff
from physdiff.inference.exact import ar1_target

dist.init_process_group("gloo")                            # "nccl" on GPUs, after torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
target = ar1_target(8, 0.8, seen=(2, 5), y=torch.tensor([0.5, -1.0]), std=0.5)
particles = int(sys.argv[1])
sampler = physdiff.TwistedSMC(steps=20, particles=physdiff.Sharded(particles))
found = sampler.sample(target.posterior(), particles, rng=physdiff.Rng(0))
evidence = float(found.info["log_evidence"].double().mean())
if dist.get_rank() == 0:
    torch.save({"members": found.members, "evidence": evidence, "exact": float(target.log_evidence)}, sys.argv[2])
dist.destroy_process_group()
"""
)


def run(count: int, out: str) -> dict:
    """Start it as on a cluster; with several nodes add --nnodes, --rdzv-backend c10d and --rdzv-endpoint first.node:29400."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "draw.py", "512", out]
    done = subprocess.run(start, capture_output=True, text=True, timeout=800, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(out, weights_only=True)


found = run(processes, "shared.pt")
print(f"data: generated; {processes} process(es): log evidence {found['evidence']:.3f}, exact {found['exact']:.3f}")
if processes > 1:
    alone = run(1, "alone.pt")
    print(f"one process: {alone['evidence']:.3f}; largest difference of a draw {float((alone['members'] - found['members']).abs().max()):.1e}")
    assert abs(alone["evidence"] - found["evidence"]) < 1e-4  # the same random numbers, in batches of another size

# %% [markdown]
# ## Training
# Every module of physdiff is a LightningModule, so that `fit` takes what Lightning's Trainer takes; loaders share batches among the
# processes themselves.
#
#     physdiff.fit(module, data, max_steps=20000, accelerator="gpu", devices=4, num_nodes=2, strategy="ddp", precision="bf16-mixed", out="run")
#
# started by `torchrun`, `srun` or Lightning itself; the checkpoint in `run` lets a job that was killed go on. From the command line
# `physdiff infer` runs under torchrun in the same way.

# %%
drawn = found["members"][:, 0, :, 0]
figure, axes = plt.subplots(figsize=(7, 3))
axes.plot(drawn[:40].T, color="0.7", lw=0.6)
axes.errorbar([2, 5], [0.5, -1.0], yerr=0.5, fmt="o", color="k", label="readings")
axes.set(xlabel="frame", title="draws of the posterior")
axes.legend()
figure.tight_layout()

# %% [markdown]
# The number: the log evidence. Twisted particles of a Gaussian with linear readings see the exact twisting up to the sampler's twenty
# steps, so that their weights are nearly equal: 512 of them scatter by some hundredths, and the steps' bias is of that size. 0.15 holds
# both.

# %%
print(f"log evidence: {found['evidence']:.3f}, exact {found['exact']:.3f}")
assert abs(found["evidence"] - found["exact"]) < 0.15
