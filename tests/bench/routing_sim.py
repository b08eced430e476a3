"""Simulate the router over traces and print how long finals take: by its policy, by the CPU alone, by the GPU alone.

    python tests/bench/routing_sim.py [--seed N] [--load L] [--cpu-speed X] [--gpu-speed X] [--gpu-delay S]

The schedule is the router's own; time, devices and segments are simulated. Nothing is measured here: that the figures
of a machine are right is for `parakeetd calibrate`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from parakeetd.model.sessions import Device
from simulation import Machine, Outcome, simulate, traces

CHOICES: dict[str, tuple[Device, ...]] = {
    "policy": ("cpu", "cuda"),
    "all CPU": ("cpu",),
    "all GPU": ("cuda",),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = Machine()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load", type=float, default=1.0, help="1 is three finals a second")
    parser.add_argument("--cpu-speed", type=float, default=usual.cpu_speed, help="seconds of audio a second")
    parser.add_argument("--gpu-speed", type=float, default=usual.gpu_speed, help="seconds of audio a second")
    parser.add_argument("--gpu-delay", type=float, default=usual.gpu_delay, help="seconds of each GPU run")
    arguments = parser.parse_args()
    machine = Machine(arguments.cpu_speed, arguments.gpu_speed, arguments.gpu_delay)
    print(
        f"CPU {machine.cpu_speed:g} x real time; GPU {machine.gpu_speed:g} x after {machine.gpu_delay * 1000:g} ms; "
        f"load {arguments.load:g}; seed {arguments.seed}"
    )
    print("latency of finals in seconds; runs and segments a run by CPU + GPU; share of interims dropped\n")
    print(
        f"{'trace':<22}{'choice':<9}{'P50':>8}{'P95':>8}{'P99':>8}  {'runs':<14}{'a run':<12}{'dropped':>7}"
    )
    for name, trace in traces(machine, arguments.seed, arguments.load).items():
        interims = sum(not arrival.final for arrival in trace.arrivals)
        for choice, devices in CHOICES.items():
            outcome = simulate(trace, devices, machine.estimate)
            print(f"{name if choice == 'policy' else '':<22}{choice:<9}{_figures(outcome, interims)}")


def _figures(outcome: Outcome, interims: int) -> str:
    latencies = "".join(f"{outcome.percentile(share):8.3f}" for share in (0.50, 0.95, 0.99))
    sizes = {
        device: [len(run.pieces) for run in outcome.runs if run.device == device]
        for device in CHOICES["policy"]
    }
    runs = " + ".join(str(len(each)) for each in sizes.values())
    a_run = " + ".join(f"{sum(each) / max(1, len(each)):.1f}" for each in sizes.values())
    dropped = f"{len(outcome.dropped) / interims:7.0%}" if interims else f"{'-':>7}"
    return f"{latencies}  {runs:<14}{a_run:<12}{dropped}"


if __name__ == "__main__":
    main()
