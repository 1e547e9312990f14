"""Train on two processes and save the weights and images of each. Lightning starts this file twice."""

import sys
from pathlib import Path

import torch

from inverseflow.training.loop.callbacks import Recorder
from inverseflow.training.options import ModelOptions, OptimizerOptions, TrainOptions
from inverseflow.training.trainer import train

out, fails_on = Path(sys.argv[1]), int(sys.argv[2])
record = Recorder.on_train_batch_end
seen = []


def record_and_keep(self, trainer, module, outputs, batch, *rest):
    record(self, trainer, module, outputs, batch, *rest)
    seen.append(batch[0].clone())
    torch.save(
        {"weights": module.flow.state_dict(), "images": torch.cat(seen), "loss": module.terms["bits_per_dim"]},
        out / f"rank{trainer.global_rank}.pt",
    )
    if trainer.global_rank == fails_on and trainer.global_step == 1:
        module.flow.register_forward_hook(lambda module, args, output: output / 0)


Recorder.on_train_batch_end = record_and_keep
train(
    TrainOptions(
        data="digits",
        out=out / "run",
        max_steps=5,
        batch_size=16,
        validate_every=3,
        checkpoint_every=2,
        log_every=1,
        initialization_images=64,
        evaluation_draws=1,
        model=ModelOptions(scales=1, steps=1, width=8, spline_bins=4),
        optimizer=OptimizerOptions(warmup_steps=0),
        accelerator="cpu",
        devices="2",
        strategy="ddp",
        quiet=True,
    )
)
