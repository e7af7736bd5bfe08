"""Train the model of parts of touching digits, lenet5c/training/pretrained_data/parts.safetensors.

    python tools/train_parts.py OUT.safetensors [--strings 6000] [--epochs 9] [--seed 0]

Strings of one to four of MNIST's training digits are drawn that touch, overlap or are joined by a
stroke. Each is cut as `predict --digits many` cuts it. A part whose ink is that of a digit, but for
a little, is an example of it, seen with the ink around it; one that is far from any is an example
of 'several', be it half of one or more than one. One string in five is of letters, scribbles and
other marks: all their parts are examples of 'none'. The first 55,000 training digits are drawn
from; strings of the others validate.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from lenet5c import datasets, nn, optim, training
from lenet5c.datasets.centering import bound
from lenet5c.datasets.resampling import resize
from lenet5c.datasets.signs import draw_blots, draw_scribbles, draw_zigzags
from lenet5c.datasets.stroke_shapes import LETTERS, MARKS
from lenet5c.datasets.strokes import Hands, draw_texts
from lenet5c.recognition.filters import dilate
from lenet5c.recognition.lattice import Lattice
from lenet5c.recognition.parts import NO_DIGITS, NOT_ONE, frame_part
from lenet5c.recognition.pieces import find_pieces

#: Ways in which digits of a string meet, and how often.
WAYS = {"touch": 0.42, "joined": 0.14, "overlap": 0.26, "beside": 0.18}
#: Strings that one task draws.
TASK = 50
#: Share of strings that are of no digits.
CLUTTER = 0.2
#: Shared ink of a part and a digit, over that of both: of an example of the digit, at least; of
#: that of the part which is most like it; and of an example of none, at most.
ALIKE, MOST_ALIKE, UNLIKE = 0.78, 0.62, 0.6
#: Share of another digit that is in a part: of an example of a digit, at most; and of none, at
#: least, however like a digit it is.
LITTLE, MUCH = 0.35, 0.6


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", metavar="OUT", help="the model file that is written")
    for name, value in (("strings", 6000), ("epochs", 9), ("seed", 0), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=value, metavar="N")
    options = parser.parse_args()
    count = -(-options.strings // TASK)
    # One task in sixteen draws strings to validate by.
    tasks = [(options.seed, task, task % 16 == 15) for task in range(count)]
    with ProcessPoolExecutor(options.workers) as pool:
        drawn = list(pool.map(draw_examples, tasks))
    train_set, validation_set = (
        gather([each for each, task in zip(drawn, tasks, strict=True) if task[2] == held_out])
        for held_out in (False, True)
    )
    print(f"{len(train_set)} parts, {np.bincount(train_set.labels)} of each class", flush=True)
    model = nn.LeNet5(NO_DIGITS + 1, rng=options.seed)
    preparation = datasets.Preparation.named("default")
    steps = -(-len(train_set) // 64) * options.epochs
    trainer = training.Trainer(
        model,
        optim.Adam(model, lr=3e-3),
        optim.OneCycle(3e-3, steps),
        nn.CrossEntropyLoss(label_smoothing=0.02),
        preparation,
        train_set,
        validation_set,
        batch_size=64,
        epochs=options.epochs,
        seed=options.seed,
        distortion=datasets.Distortion.named("paper1998"),
    )
    trainer.run(
        on_epoch=lambda _, row: print(
            f"{row['epoch']:3} {row['train_accuracy']:.4f} {row['validation_accuracy']:.4f}",
            flush=True,
        )
    )
    names = train_set.class_names
    training.save_model(options.out, training.TrainedModel(model, preparation, names))


def gather(drawn):
    """Return the examples of several tasks as a data set."""
    images, labels = (np.concatenate(arrays) for arrays in zip(*drawn, strict=True))
    names = (*map(str, range(10)), "several", "none")
    return datasets.Dataset(images[:, np.newaxis], labels, len(names), class_names=names)


def draw_examples(task):
    """Return (images, labels) of some strings."""
    seed, number, held_out = task
    rng = np.random.default_rng([seed, number])
    digits = datasets.mnist()[0]
    digits = digits.take(np.arange(55_000, 60_000) if held_out else np.arange(55_000))
    clutter = draw_clutter(rng)
    images, labels = [], []
    for _ in range(TASK):
        if rng.random() < CLUTTER:
            inks, _ = draw_string(*clutter[int(rng.integers(len(clutter)))], rng)
            found = cut_clutter(inks, rng)
        else:
            inks, own = draw_string(digits.images[:, 0], digits.labels, rng)
            found = cut_string(inks, own, rng)
        for image, label in found:
            images.append(image)
            labels.append(label)
    return np.stack(images), np.array(labels)


def draw_clutter(rng):
    """Return images, and labels, of letters, of other marks, and of scribbles."""
    hands = Hands.draw(rng, 12)
    letters, marks = (
        np.concatenate(
            [
                draw_texts(shapes[name], 6, hands, rng, aspect=(0.6, 1.3))
                for name in rng.permutation(list(shapes))[:count].tolist()
            ]
        )
        for shapes, count in ((LETTERS, 20), (MARKS, 8))
    )
    drawn = (draw(32, hands, rng) for draw in (draw_scribbles, draw_zigzags, draw_blots))
    scribbles = np.concatenate([*drawn, marks])
    return [(each, np.full(len(each), NO_DIGITS)) for each in (letters, letters, scribbles)]


def cut_clutter(inks, rng):
    """Yield (image, label) of some parts of a string of no digits."""
    pieces, ruler = find_pieces(inks.max(axis=0))
    for piece in pieces:
        usual = min(piece.height, ruler.height) * rng.uniform(0.9, 1.05)
        lattice = Lattice([piece], ruler.pen, usual)
        parts = [run.piece for run in lattice.cut(0)]
        some = rng.permutation(len(parts))[: max(4, len(parts) // 3)].tolist()
        for part in (piece, *(parts[i] for i in some)):
            yield frame_part(part, piece), NO_DIGITS


def cut_string(inks, labels, rng):
    """Yield (image, label) of parts of a string: ink of each digit, (n, h, w), and their labels."""
    pieces, ruler = find_pieces(inks.max(axis=0))
    mass = inks[: len(labels)].sum(axis=(1, 2), dtype=np.int64)
    for piece in pieces:
        usual = min(piece.height, ruler.height) * rng.uniform(0.9, 1.05)
        lattice = Lattice([piece], ruler.pen, usual)
        parts = [run.piece for run in lattice.whole + lattice.cut(0)]
        shared = np.stack([share(part, inks[: len(labels)]) for part in parts])
        size = np.array([part.strength.sum(dtype=np.int64) for part in parts])
        alike = shared / (mass + size[:, np.newaxis] - shared + 1)
        best = alike.max(axis=1)
        # The most of any other digit that is in a part: a thin one is little ink.
        inside = shared / (mass + 1)
        inside[np.arange(len(parts)), alike.argmax(axis=1)] = 0
        other = inside.max(axis=1)
        chosen = set(np.flatnonzero((best >= ALIKE) & (other <= LITTLE)).tolist())
        most = alike.argmax(axis=0).tolist()
        chosen |= {i for k, i in enumerate(most) if alike[i, k] >= MOST_ALIKE and other[i] <= MUCH}
        far = (best < UNLIKE) | (other >= MUCH)
        none = [i for i in np.flatnonzero(far).tolist() if i not in chosen]
        # All of a piece comes first: of two digits it is what they are taken for the most.
        few = [i for i in none if i == 0]
        few += rng.permutation(none)[: 2 * len(chosen) + 2].tolist()
        for i in sorted(chosen):
            yield frame_part(parts[i], piece), labels[int(alike[i].argmax())]
        for i in few:
            yield frame_part(parts[i], piece), NOT_ONE


def share(part, inks):
    """Return the ink that a part has in common with each digit."""
    top, left, bottom, right = part.box
    common = np.minimum(inks[:, top:bottom, left:right], part.strength)
    return common.sum(axis=(1, 2), dtype=np.int64)


def draw_string(images, labels, rng):
    """Return the ink of each digit of a string, and of strokes between them, and the labels."""
    count = int(rng.choice(4, p=[0.12, 0.4, 0.33, 0.15])) + 1
    height = int(rng.integers(36, 72))
    pen, slant, slope = rng.uniform(-0.2, 0.8), rng.uniform(-0.25, 0.3), rng.uniform(-0.1, 0.1)
    way = rng.choice(list(WAYS), p=list(WAYS.values()))
    inks = np.zeros((count + 1, 2 * height, round(height * (1.4 * count + 1.5))), np.uint8)
    chosen, right = rng.integers(len(images), size=count).tolist(), round(0.4 * height)
    for k, i in enumerate(chosen):
        digit = draw_digit(
            images[i],
            round(height * rng.uniform(0.85, 1.15)),
            pen + rng.uniform(-0.1, 0.1),
            slant + rng.uniform(-0.08, 0.08),
        )
        y = (inks.shape[1] - len(digit)) / 2 + slope * right + height * rng.uniform(-0.1, 0.1)
        y = int(np.clip(round(y), 0, inks.shape[1] - len(digit)))
        x = right if k == 0 else place(inks, digit, y, right, height, way, rng)
        x = int(np.clip(x, 0, inks.shape[2] - digit.shape[1]))
        inks[k, y : y + len(digit), x : x + digit.shape[1]] = digit
        if k and way == "joined":
            join(inks, k, height, rng)
        right = x + digit.shape[1]
    return (inks * rng.uniform(0.8, 1.0)).astype(np.uint8), [int(labels[i]) for i in chosen]


def draw_digit(image, height, pen, slant):
    """Return a digit, cropped, of about a height, with another pen and slant."""
    top, left, bottom, right = bound(image >= 40)
    scale = height / 20
    rows, columns = bottom - top, right - left
    ink = resize(
        image[top:bottom, left:right], (max(4, round(scale * rows)), max(4, round(scale * columns)))
    )
    radius = round(abs(pen) * scale)
    ink = np.pad(ink, radius + 1)
    if radius:
        ink = dilate(ink, radius) if pen > 0 else 255 - dilate(255 - ink, radius)
    shift = np.rint(slant * (len(ink) / 2 - np.arange(len(ink)))).astype(int)
    wide = np.pad(ink, ((0, 0), (abs(shift).max(), abs(shift).max())))
    ink = np.stack([np.roll(row, n) for row, n in zip(wide, shift, strict=True)])
    box = bound(ink >= 96)
    if box is None:
        return draw_digit(image, height, 0.0, slant)
    return ink[box[0] : box[2], box[1] : box[3]]


def place(inks, digit, y, right, height, way, rng):
    """Return the column of a digit beside those before it."""
    if way == "overlap":
        return right - round(height * rng.uniform(0.04, 0.24))
    if way == "beside":
        return right + round(height * rng.uniform(-0.04, 0.04))
    if way == "joined":
        return right + round(height * rng.uniform(0.02, 0.2))
    before = inks.max(axis=0)[y : y + len(digit)] >= 128
    x, least = right + 2, rng.choice([1, 1, rng.uniform(3, 18) * height / 28])
    while x > right - digit.shape[1]:
        x -= 1
        beside = before[:, x : x + digit.shape[1]]
        if np.count_nonzero(beside & (digit[:, : beside.shape[1]] >= 128)) >= least:
            break
    return x - round(height * rng.choice([0.0, rng.uniform(0, 0.1)]))


def join(inks, k, height, rng):
    """Draw a stroke from a digit to the next."""
    ends = []
    for ink, side in ((inks[k - 1], 1), (inks[k], -1)):
        y, x = np.nonzero(ink >= 150)
        i = int(np.argmax(side * x + rng.uniform(0, 0.2) * height * rng.random(len(x))))
        ends.append(np.array([y[i], x[i]], float))
    start, way = ends[0], ends[1] - ends[0]
    points = np.stack(np.mgrid[: inks.shape[1], : inks.shape[2]], axis=-1) - start
    along = np.clip(points @ way / max(way @ way, 1.0), 0, 1)
    far = np.hypot(*np.moveaxis(points - along[..., np.newaxis] * way, -1, 0))
    half = height * rng.uniform(0.03, 0.05)
    stroke = (255 * np.clip(half + 0.5 - far, 0, 1)).astype(np.uint8)
    np.maximum(inks[-1], stroke, out=inks[-1])


if __name__ == "__main__":
    main()
