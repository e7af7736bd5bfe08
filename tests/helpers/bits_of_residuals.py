"""Topics of `same_bits.py`: residuals and global pooling."""

from bits import FEW, MANY, both_ways, numbers, steps, topic, trained

from lenet5c import nn, optim


@topic
def global_pooling():
    for seed, image in enumerate([(3, 8, 6), (17, 7, 5), (2, 1, 1), (1, 30, 33)]):
        for layer in (nn.GlobalAvgPool2d(), nn.GlobalMaxPool2d()):
            for draw in (numbers, steps):
                yield from both_ways(layer, draw((FEW, *image), seed), 460 + seed)
        model = nn.Sequential(nn.Conv2d(image[0], 5, 1), nn.ReLU(), nn.GlobalAvgPool2d())
        yield from both_ways(model, numbers((FEW, *image), seed), 465 + seed)


def residual_blocks(last=6):
    """Make residual blocks of 6, 6 and `last` maps: in place, with a shortcut, and nested."""
    yield nn.Residual(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1))
    yield nn.Residual(
        nn.Conv2d(6, 18, 3, stride=2, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(18, 18, 3, padding=1, groups=18),
        shortcut=nn.Conv2d(6, 18, 1, stride=2),
    )
    yield nn.Residual(
        nn.ReLU(),
        nn.Residual(
            nn.Conv2d(last, last, 1), nn.Tanh(), shortcut=nn.Sequential(nn.LeakyReLU(0.25))
        ),
    )


@topic
def residuals():
    for seed, block in enumerate(residual_blocks()):
        model = nn.Sequential(nn.Tanh(), block, nn.ReLU(), nn.MaxPool2d(2))
        yield from both_ways(model, numbers((FEW, 6, 7, 9), seed), 560 + seed)


@topic
def training_a_residual_net():
    for batch in (MANY, 3):
        model = nn.Sequential(
            *(nn.Conv2d(2, 6, 3), *residual_blocks(last=18)),
            *(nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(18, 10)),
        )
        yield from trained(
            *(model, (2, 9, 11), lambda model: optim.SGD(model, 2.0**-6, 0.9)),
            *(batch, nn.CrossEntropyLoss()),
        )


@topic
def training_a_normalized_residual_net():
    for batch in (MANY, 17):
        block = nn.Residual(
            *(nn.Conv2d(6, 10, 3, stride=2, padding=1), nn.BatchNorm2d(10), nn.ReLU()),
            *(nn.Conv2d(10, 10, 3, padding=1), nn.BatchNorm2d(10)),
            shortcut=nn.Sequential(nn.Conv2d(6, 10, 1, stride=2), nn.BatchNorm2d(10)),
        )
        model = nn.Sequential(
            *(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), block, nn.ReLU()),
            *(nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(10, 10)),
        )
        yield from trained(
            *(model, (2, 9, 11), lambda model: optim.SGD(model, 2.0**-6, 0.9)),
            *(batch, nn.CrossEntropyLoss()),
        )
