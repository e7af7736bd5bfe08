"""Times of explanations, and norms of the smallest changes compared with DeepFool.

    python benchmarks/explanations.py [--count 100] [--repeats 5] [--threads 1]

Uses the last training images of MNIST and the model of the package. Times are the minimum and the
median of the repeats, in milliseconds, and the minimum processor time. DeepFool is the original
algorithm: steps by the gradients of all classes to the nearest linear boundary, 2 % beyond it,
clipped to the range of gray levels, and rounded.
"""

import statistics
import time

import numpy as np
from common import Table, make_parser, positive, print_header, set_threads

from lenet5c import reference
from lenet5c.datasets import mnist
from lenet5c.recognition import why
from lenet5c.training import open_model
from lenet5c.training.explanation.pixels import LevelPass

MAX_STEPS = 100
OVERSHOOT = 1.02


def deepfool(trained, image):
    """Return the norm of DeepFool's change in gray levels, infinity if it finds none."""
    way, before = LevelPass(trained, image.shape[1:]), trained.predict(image)[0]
    classes = np.eye(len(trained.class_names))
    x = image.astype(np.float64)
    for _ in range(MAX_STEPS):
        overshot = np.clip(np.rint(image + OVERSHOOT * (x - image)), 0, 255).astype(np.uint8)
        if trained.predict(overshot)[0] != before:
            return float(np.linalg.norm(overshot.astype(float) - image))
        batch = np.repeat(x[None], len(classes), axis=0)
        gradients = way.gradient(batch, classes).reshape(len(classes), -1)
        step, _ = reference.deepfool_step(way.logits(x[None])[0], gradients, before)
        x = np.clip(x + step.reshape(x.shape), 0, 255)
    return np.inf


def measure(run, repeats):
    """Return wall-clock times in turn, and the minimum processor time, in milliseconds."""
    run()
    wall, own = [], []
    for _ in range(repeats):
        began, worked = time.perf_counter(), time.process_time()
        run()
        wall.append(1000 * (time.perf_counter() - began))
        own.append(1000 * (time.process_time() - worked))
    return wall, min(own)


def main():
    parser = make_parser(__doc__, repeats=5)
    text = "digits whose smallest change is searched for (default: %(default)s)"
    parser.add_argument("--count", type=positive, default=100, metavar="N", help=text)
    options = parser.parse_args()
    set_threads(options.threads, {})
    print_header(options.threads, {})
    trained, (train, _) = open_model(), mnist()
    images = train.images[-options.count :]
    image, row = images[0], np.concatenate(images[:8, 0], axis=1)
    neighbors = why.Neighbors(trained, train)
    runs = {
        "saliency": lambda: why.saliency(trained, image),
        "saliency, 32 noisy images": lambda: why.saliency(trained, image, smooth=32),
        "grad_cam": lambda: why.grad_cam(trained, image),
        "occlusion, 784 positions": lambda: why.occlusion(trained, image),
        "smallest_change": lambda: why.smallest_change(trained, image),
        f"nearest of {len(train):,}": lambda: neighbors.find(image),
        f"slide over {row.shape[1]} columns": lambda: why.slide(trained, row),
    }
    table = Table({"function": 26, "least": 7, "median": 7, "processor": 9})
    for name, run in runs.items():
        wall, own = measure(run, options.repeats)
        table.row(name, f"{min(wall):.2f}", f"{statistics.median(wall):.2f}", f"{own:.2f}")
    print()
    table = Table({"change of": 26, "median": 7, "mean": 7, "largest": 7, "none": 4})
    found = [why.smallest_change(trained, each) for each in images]
    ours = [each.norm if each else np.inf for each in found]
    naive = [deepfool(trained, each) for each in images]
    for name, norms in (("smallest_change", ours), ("DeepFool", naive)):
        finite = [norm for norm in norms if np.isfinite(norm)]
        figures = statistics.median(finite), statistics.mean(finite), max(finite)
        table.row(name, *(f"{each:.1f}" for each in figures), len(norms) - len(finite))
    better = sum(a <= b for a, b in zip(ours, naive, strict=True))
    print(f"\nOf {len(ours)} digits, {better} have a change at most as large as DeepFool's.")


if __name__ == "__main__":
    main()
