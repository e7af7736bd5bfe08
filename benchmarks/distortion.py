"""Cost of distortions for a tile of 16 images, alone and in a training step of LeNet-5.

    python benchmarks/distortion.py [--threads 1] [--batch-size 320] [--repeats 20] [--channels 3]

On its own, the distortion writes its images one by one; in a training step, it writes them into
tiles, which replaces the packing of bytes.
"""

import numpy as np
from common import (
    Table,
    interleaved,
    load_peers,
    make_parser,
    positive,
    print_header,
    set_threads,
    time_cell,
)

from lenet5c.datasets import Distortion, Preparation, mnist
from lenet5c.kernels import threads
from lenet5c.kernels.simd import dispatch
from lenet5c.nn import CrossEntropyLoss, LeNet5, Samples

DISTORTIONS = {
    "none": None,
    "identity": Distortion(),
    "paper1998": Distortion.named("paper1998"),
    "modern": Distortion.named("modern"),
    "elastic alone": Distortion(elastic=30),
    "flips and crops": Distortion(flip=0.5, crop_padding=4, outside="reflect"),
    "colors": Distortion(brightness=0.2, contrast=0.2, saturation=0.2, hue=5),
    "erasing": Distortion(erasing=0.5),
    "mixup": Distortion(mixup=0.2),
    "pictures": Distortion.named("pictures"),
    "pictures-mixup": Distortion.named("pictures-mixup"),
}


def main():
    parser = make_parser(__doc__, repeats=20, seconds=0.02)
    parser.add_argument(
        "--batch-size", type=positive, default=320, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--channels", type=positive, default=1, metavar="N", help="(default: %(default)s)"
    )
    options = parser.parse_args()
    peers = load_peers()
    set_threads(options.threads, peers)
    heading = (
        f"Times of a tile of 16 images of {options.channels} x 32 x 32, batch "
        f"{options.batch_size}: minimum / median."
    )
    print_header(options.threads, peers, heading)
    train, _ = mnist()
    prepare = Preparation.named("default")
    images, labels = (
        prepare.fit_images(train.images[: options.batch_size]),
        train.labels[: options.batch_size],
    )
    images = np.repeat(images, options.channels, axis=1)
    offset, loss = prepare.offset(options.channels), CrossEntropyLoss()
    model = LeNet5(rng=0, in_channels=options.channels)
    order, out = np.arange(len(images)), np.empty(images.shape, np.float32)
    tiles = -(-len(images) // 16)
    warps, steps = {}, {}
    for name, distortion in DISTORTIONS.items():
        distort = None if distortion is None else distortion.for_epoch(0)
        if distort is not None:
            warps[name] = lambda distort=distort: distort.warp.apply(
                dispatch.tiles, images, order, distort.stream, out, threads.effective()
            )
        steps[name] = lambda distort=distort: model.train_step(
            Samples(images, None, prepare.scale, offset, distort), labels, loss
        )
    warps = interleaved(warps, options.repeats, options.seconds)
    steps = interleaved(steps, options.repeats, options.seconds)
    table = Table({"distortion": 16, "warp alone": 17, "training step": 17, "more by": 0})
    for name in DISTORTIONS:
        of_warp, of_step = (
            [each / tiles for each in times] for times in (warps.get(name, []), steps[name])
        )
        table.row(
            name,
            time_cell(of_warp),
            time_cell(of_step),
            f"{min(of_step) * tiles / min(steps['none']) - 1:.1%}",
        )


if __name__ == "__main__":
    main()
