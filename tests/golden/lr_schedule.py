#!/usr/bin/env python3
"""Writes tests/golden/lr_schedule.json: learning rates (and momenta) of PyTorch's schedulers, step by step.

  python tests/golden/lr_schedule.py        (torch 2.13.0)

lr_schedule_test.cpp compares each value to 1e-9 relative: PyTorch updates recursively, ballast computes each step alone.
"""
import json
import pathlib
import random

import torch
from torch.optim import lr_scheduler as sched


def run(make, steps, lr=0.2, momentum=0.9):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=lr, momentum=momentum)
    scheduler = make(optimizer)
    lrs, momenta = [], []
    for _ in range(steps):
        lrs.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    return {"lr": lrs, "momentum": momenta}


def warm(optimizer, w, after):
    # Linear from 0.02 to 0.2 in w - 1 steps; the schedule begins at step w.
    linear = sched.LinearLR(optimizer, start_factor=0.1, end_factor=1.0, total_iters=w - 1)
    return sched.SequentialLR(optimizer, [linear, after(optimizer)], milestones=[w])


def plateau(values, **options):
    """The rate after each check: ReduceLROnPlateau acts at check patience + 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=0.2)
    scheduler = sched.ReduceLROnPlateau(optimizer, **options)
    rates = []
    for value in values:
        scheduler.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    return {"values": values, "lr": rates}


def plateaus():
    draw = random.Random(3)
    noisy = [round(2 * 0.97 ** i + draw.uniform(-0.1, 0.1), 6) for i in range(120)]
    return {
        "plateau": plateau(noisy, factor=0.5, patience=2, threshold=0.01, threshold_mode="abs"),
        "plateau_rel_cooldown": plateau(noisy, factor=0.1, patience=3, threshold=0.02, threshold_mode="rel", cooldown=4),
        "plateau_max": plateau([-v for v in noisy], mode="max", factor=0.3, patience=0, threshold=0.0, threshold_mode="abs",
                               cooldown=1, min_lr=0.001),
    }


def main():
    cases = {
        "constant": run(lambda o: sched.ConstantLR(o, factor=1.0, total_iters=0), 20),
        "step": run(lambda o: sched.StepLR(o, step_size=7, gamma=0.3), 50),
        "multistep": run(lambda o: sched.MultiStepLR(o, milestones=[5, 17, 18, 40], gamma=0.5), 50),
        "cosine": run(lambda o: sched.CosineAnnealingLR(o, T_max=50), 50),
        "cosine_min": run(lambda o: sched.CosineAnnealingLR(o, T_max=37, eta_min=0.01), 37),
        "cosine_cycles": run(lambda o: sched.CosineAnnealingWarmRestarts(o, T_0=10, T_mult=2, eta_min=0.01), 70),
        "cosine_equal_cycles": run(lambda o: sched.CosineAnnealingWarmRestarts(o, T_0=17), 51),
        "poly": run(lambda o: sched.PolynomialLR(o, total_iters=50, power=1.0), 50),
        "poly_2": run(lambda o: sched.PolynomialLR(o, total_iters=50, power=2.5), 50),
        "one_cycle": run(lambda o: sched.OneCycleLR(o, max_lr=0.2, total_steps=100), 100),
        "one_cycle_options": run(
            lambda o: sched.OneCycleLR(o, max_lr=0.2, total_steps=61, pct_start=0.41, div_factor=10, final_div_factor=100,
                                       base_momentum=0.8, max_momentum=0.9), 61),
        "cosine_warm": run(lambda o: warm(o, 10, lambda p: sched.CosineAnnealingLR(p, T_max=40)), 50),
        "step_warm": run(lambda o: warm(o, 5, lambda p: sched.StepLR(p, step_size=7, gamma=0.3)), 50),
    }
    out = pathlib.Path(__file__).parent / "lr_schedule.json"
    out.write_text(json.dumps({"torch": torch.__version__, "cases": cases, "plateau": plateaus()}) + "\n")


if __name__ == "__main__":
    main()
