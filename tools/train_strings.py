"""Train the model of strings of digits, lenet5c/training/pretrained_data/strings.safetensors.

    python tools/train_strings.py OUT.safetensors [--strings 200000] [--epochs 4] [--seed 0]

Strings are one to six of MNIST's training digits that touch, overlap, are joined by a stroke or
stand side by side, distorted, with random pen width, slant, slope and size. The net is fully
convolutional: at each place it predicts the ten digits, 'none' (not a digit) or 'nothing'. The loss
is that of CTC (Graves et al., 2006): the negative log of the total probability of all alignments of
the digits, each restricted to the middle of its ink. Letters, scribbles and other marks must have
'none' at one or more places and digits nowhere. Training strings use the first 55,000 training
digits, validation strings the others.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np

from lenet5c import datasets, nn, optim, training
from lenet5c.datasets.centering import bound
from lenet5c.datasets.signs import draw_blots, draw_scribbles, draw_zigzags
from lenet5c.datasets.stroke_shapes import LETTERS, MARKS
from lenet5c.datasets.strokes import Writers, draw_texts
from lenet5c.recognition.filters import dilate
from lenet5c.recognition.strings import (
    BIN,
    HEIGHT,
    NONE,
    NOTHING,
    REACH,
    WINDOW,
    String,
    count_places,
    frame_string,
    locate_places,
    log_softmax,
    make_net,
    prepare,
    score_places,
)

#: Placements of adjacent digits in a string, with their probabilities.
WAYS = {"touch": 0.38, "overlap": 0.34, "joined": 0.1, "boxes": 0.12, "beside": 0.06}
#: Probabilities of strings of one to six digits.
COUNTS = (0.25, 0.27, 0.2, 0.13, 0.09, 0.06)
#: Augmentation of the training digits.
DISTORTION = datasets.Distortion(squeeze=0.05, rotation=7.0, elastic=15.0)
#: Number of digits that a task samples from.
POOL = 1000
#: Number of strings per task.
TASK = 250
#: Probability of deliberately repeating the previous digit, in addition to chance repetitions.
REPEATED = 0.15
#: Fraction of strings without digits.
CLUTTER = 0.15
#: Number of validation tasks, and batch size.
HELD_OUT, BATCH = 4, 32
#: Maximum learning rate, and maximum gradient norm.
RATE, LONGEST = 1e-3, 50.0
#: Smallest divisor of normalizations.
TINY = 1e-300
#: Gradients below this are set to 0, since products with them would be slow denormal numbers.
LEAST_GRADIENT = 1e-9


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", metavar="OUT", help="the model file that is written")
    for name, value in (("strings", 200_000), ("epochs", 4), ("seed", 0), ("workers", 1)):
        parser.add_argument(f"--{name}", type=int, default=value, metavar="N")
    options = parser.parse_args()
    count = -(-options.strings // TASK)
    tasks = [(options.seed, task, False) for task in range(count)]
    tasks += [(options.seed, count + task, True) for task in range(HELD_OUT)]
    with ProcessPoolExecutor(options.workers) as pool:
        drawn = list(pool.map(draw_examples, tasks))
    train = [each for task in drawn[:count] for each in task]
    held_out = [each for task in drawn[count:] for each in task]
    print(f"{len(train)} strings", flush=True)
    net = make_net(options.seed)
    fit(net, train, held_out, options.epochs, options.seed)
    preparation = datasets.Preparation((HEIGHT, WINDOW))
    names = (*map(str, range(10)), "none", "nothing")
    # Saved as a classifier of one window.
    model = nn.Sequential({**net.layers, "flatten": nn.Flatten()}, input_shape=(1, HEIGHT, WINDOW))
    trained = training.TrainedModel(model, preparation, names, model.input_shape)
    training.save_model(options.out, trained)


def fit(net, train, held_out, epochs, seed):
    """Train the net and print the loss and validation results after each epoch."""
    rng = np.random.default_rng([seed, 1])
    groups = group(train)
    steps = epochs * sum(-(-len(numbers) // BATCH) for numbers in groups.values())
    optimizer, schedule = optim.Adam(net, lr=RATE), optim.OneCycle(RATE, steps)
    for epoch in range(epochs):
        losses = []
        # The strings of a batch are padded to the same width.
        batches = [
            numbers[start : start + BATCH]
            for numbers in (rng.permutation(numbers) for numbers in groups.values())
            for start in range(0, len(numbers), BATCH)
        ]
        for k in rng.permutation(len(batches)).tolist():
            x, targets = collate([train[i] for i in batches[k].tolist()], rng)
            logits = net.forward(prepare(x), training=True)[:, :, 0].transpose(0, 2, 1)
            loss, gradient = string_loss(logits, targets)
            net.backward(np.ascontiguousarray(gradient.transpose(0, 2, 1)[:, :, np.newaxis]))
            net.grad_vector[:] *= min(
                1.0, LONGEST / max(float(np.linalg.norm(net.grad_vector)), 1e-9)
            )
            optimizer.lr = schedule(optimizer.steps)
            optimizer.step()
            losses.append(loss)
        right, taken = validate(net, held_out)
        print(
            f"{epoch + 1:3} loss {np.mean(losses):.4f}, strings right {right:.2%}, "
            f"of none taken for digits {taken:.2%}",
            flush=True,
        )


def string_loss(logits, targets):
    """Return the mean loss of strings, and its gradient with respect to the logits, (N, T, 12).

    `targets` are the labels (N, K), padded with -1; a mask of the places allowed for each label,
    (N, K, T); and a mask of the strings without digits, (N,).
    """
    labels, places, clutter = targets
    log = log_softmax(logits.astype(np.float64))
    loss, share = sum_ways(np.exp(log), labels, places)
    if clutter.any():
        loss[clutter], share[clutter] = sum_clutter(log[clutter])
    gradient = (np.exp(log) - share) / len(log)
    gradient[np.abs(gradient) < LEAST_GRADIENT] = 0
    return float(loss.mean()), gradient.astype(np.float32)


def sum_ways(probabilities, labels, places):
    """Return the CTC loss of each string, (N,), and the class posteriors at each place, (N, T, 12).

    The loss is the negative log of the total probability of all alignments. A posterior is the
    fraction of it from the alignments with a class at a place. The states alternate: nothing, first
    digit, nothing, second digit, and so on.
    """
    count, length, _ = probabilities.shape
    number, known = np.arange(count), np.maximum(labels, 0)
    states = 2 * labels.shape[1] + 1
    own = np.take_along_axis(probabilities.transpose(0, 2, 1), known[:, :, np.newaxis], axis=1) * (
        places & (labels >= 0)[:, :, np.newaxis]
    )
    seen = np.empty((length, count, states))
    seen[:, :, 0::2] = probabilities[:, :, NOTHING].T[:, :, np.newaxis]
    seen[:, :, 1::2] = own.transpose(2, 0, 1)
    # A digit may be followed by the next one directly if they differ.
    skip = np.zeros((count, states))
    skip[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    before = np.zeros((length + 1, count, states))
    before[0, :, 0] = 1
    loss = np.zeros(count)
    for t in range(length):
        way = before[t].copy()
        way[:, 1:] += before[t, :, :-1]
        way[:, 2:] += before[t, :, :-2] * skip[:, 2:]
        way *= seen[t]
        total = np.maximum(way.sum(axis=1), TINY)
        before[t + 1] = way / total[:, np.newaxis]
        loss -= np.log(total)
    after = np.zeros((count, states))
    ends = 2 * (labels >= 0).sum(axis=1)
    after[number, ends] = after[number, np.maximum(ends - 1, 0)] = 1
    loss -= np.log(np.maximum((before[length] * after).sum(axis=1), TINY))
    share = np.zeros_like(probabilities)
    for t in range(length - 1, -1, -1):
        way = before[t + 1] * after
        way /= np.maximum(way.sum(axis=1), TINY)[:, np.newaxis]
        share[:, t, NOTHING] = way[:, 0::2].sum(axis=1)
        np.add.at(share[:, t], (number[:, np.newaxis], known), way[:, 1::2])
        way = after * seen[t]
        after = way.copy()
        after[:, :-1] += way[:, 1:]
        after[:, :-2] += way[:, 2:] * skip[:, 2:]
        after /= np.maximum(after.max(axis=1), TINY)[:, np.newaxis]
    return loss, share


def sum_clutter(log):
    """Return the same for strings without digits: 'none' at one or more places, else nothing."""
    none, nothing = log[:, :, NONE], log[:, :, NOTHING]
    either = np.logaddexp(none, nothing)
    # One minus the fraction of the alignment with nothing everywhere.
    rest = -np.expm1(np.minimum((nothing - either).sum(axis=1), -1e-12))
    share = np.zeros_like(log)
    share[:, :, NONE] = np.exp(none - either) / rest[:, np.newaxis]
    share[:, :, NOTHING] = 1 - share[:, :, NONE]
    return -(either.sum(axis=1) + np.log(rest)), share


def group(strings):
    """Group the indices of strings by padded width."""
    widths = np.array([-(-image.shape[1] // BIN) for image, *_ in strings])
    return {width: np.flatnonzero(widths == width) for width in np.unique(widths).tolist()}


def collate(strings, rng=None):
    """Return a batch, (N, 1, H, W), and targets for `string_loss`; `rng` varies the strings."""
    if rng is not None:
        strings = [vary(*string, rng) for string in strings]
    width = BIN * -(-max(image.shape[1] for image, *_ in strings) // BIN)
    x = np.zeros((len(strings), 1, HEIGHT, width + 2 * REACH), np.uint8)
    most = max(1, max(len(labels) for _, labels, _ in strings))
    length = count_places(width)
    labels = np.full((len(strings), most), -1)
    places = np.zeros((len(strings), most, length), bool)
    at = locate_places(length)
    for i, (image, own, spans) in enumerate(strings):
        left = int(rng.integers(width - image.shape[1] + 1)) if rng is not None else 0
        x[i, 0, :, REACH + left : REACH + left + image.shape[1]] = image
        labels[i, : len(own)] = own
        for k, (low, high) in enumerate(spans):
            places[i, k] = (at >= low + left) & (at <= high + left)
            if not places[i, k].any():
                places[i, k, np.abs(at - (low + high) / 2 - left).argmin()] = True
    clutter = np.array([len(own) == 0 for _, own, _ in strings])
    return x, (labels, places, clutter)


def vary(image, labels, spans, rng):
    """Randomly change the width, vertical position and ink strength of a string."""
    columns = image.shape[1]
    width = max(2, round(columns * rng.uniform(0.85, 1.1)))
    at = np.linspace(0, columns - 1, width)
    low = np.minimum(at.astype(int), columns - 2) if columns > 1 else np.zeros(width, int)
    share = (at - low).astype(np.float32)
    ink = image.astype(np.float32)
    ink = ink[:, low] * (1 - share) + ink[:, np.minimum(low + 1, columns - 1)] * share
    ink = np.roll(ink, int(rng.integers(-1, 2)), axis=0) * rng.uniform(0.8, 1.1)
    scale = width / columns
    spans = [(scale * left, scale * right) for left, right in spans]
    return np.minimum(ink, 255).astype(np.uint8), labels, spans


def validate(net, strings):
    """Return the accuracy on strings of digits, and the false-positive rate on the others."""
    right = {True: [], False: []}
    for numbers in group(strings).values():
        for start in range(0, len(numbers), 64):
            some = [strings[k] for k in numbers[start : start + 64].tolist()]
            x, _ = collate(some)
            for (_, own, _), row in zip(some, score_places(net, x), strict=True):
                right[bool(own)].append(String(row, 1.0).read()[0] == own)
    return np.mean(right[True]), 1 - np.mean(right[False])


def draw_examples(task):
    """Return the strings of a task: image (H, W), labels, and columns allowed for each digit."""
    seed, number, held_out = task
    rng = np.random.default_rng([seed, number])
    digits = open_digits()
    chosen = rng.integers(55_000, 60_000, POOL) if held_out else rng.integers(0, 55_000, POOL)
    images, labels = digits.images[chosen], digits.labels[chosen]
    if not held_out:
        images = DISTORTION(images, int(rng.integers(1 << 31))).astype(np.uint8)
    images = images[:, 0]
    clutter = draw_clutter(rng)
    drawn = []
    while len(drawn) < TASK:
        if rng.random() < CLUTTER:
            string = draw_string(clutter[int(rng.integers(len(clutter)))], None, rng)
        else:
            string = draw_string(images, labels, rng)
        if string is not None:
            drawn.append(string)
    return drawn


@cache
def open_digits():
    return datasets.mnist()[0]


def draw_clutter(rng):
    """Draw images of letters, other marks and scribbles."""
    writers = Writers.draw(rng, 12)
    letters, marks = (
        np.concatenate(
            [
                draw_texts(shapes[name], 6, writers, rng, aspect=(0.6, 1.3))
                for name in rng.permutation(list(shapes))[:count].tolist()
            ]
        )
        for shapes, count in ((LETTERS, 20), (MARKS, 8))
    )
    drawn = (draw(32, writers, rng) for draw in (draw_scribbles, draw_zigzags, draw_blots))
    return [letters, letters, np.concatenate([*drawn, marks])]


def draw_string(images, labels, rng):
    """Draw a string; return its image, its labels, and the columns allowed for each digit.

    Returns None if a digit is hidden by others. If `labels` is None, the returned labels are empty.
    """
    count = int(rng.choice(len(COUNTS), p=COUNTS)) + 1
    height = int(rng.integers(24, 44))
    pen, slant, slope = rng.uniform(-0.8, 1.6), rng.uniform(-0.3, 0.35), rng.normal(0, 0.04)
    edge = rng.uniform(0.6, 3.0)
    way = rng.choice(list(WAYS), p=list(WAYS.values()))
    unlike = rng.uniform(0, 0.16)
    up = rng.uniform(0.02, 0.1)
    canvas = np.zeros((3 * height, round(height * (1.5 * count + 1))), np.uint8)
    chosen, right, boxes = rng.integers(len(images), size=count).tolist(), 4, []
    for k in range(1, count if labels is not None else 0):
        if rng.random() < REPEATED:
            chosen[k] = int(rng.choice(np.flatnonzero(labels == labels[chosen[k - 1]])))
    for k, i in enumerate(chosen):
        size = max(8, round(height * (1 + rng.uniform(-unlike, unlike))))
        own_slant = slant + rng.uniform(-0.08, 0.08)
        digit = draw_digit(images[i], size, pen, own_slant, edge, rng)
        y = (len(canvas) - len(digit)) / 2 + slope * right + height * rng.uniform(-up, up)
        y = int(np.clip(round(y), 0, len(canvas) - len(digit)))
        x = right if k == 0 else place(canvas, digit, y, right, height, way, rng)
        x = int(np.clip(x, 0, canvas.shape[1] - digit.shape[1]))
        if k and way == "joined":
            join(canvas, digit, y, x, height, rng)
        part = canvas[y : y + len(digit), x : x + digit.shape[1]]
        np.maximum(part, digit, out=part)
        boxes.append((x, x + digit.shape[1]))
        right = max(right, x + digit.shape[1])
    spoil(canvas, boxes, height, rng)
    if canvas.max() < 96:
        return None
    top, left, bottom, end = bound(canvas >= 96)
    image = frame_string(canvas[top:bottom, left:end], (bottom - top) * (rng.uniform(1, 1.3)))
    if image.shape[1] > 24 * len(chosen) + 48:
        return None
    scale = image.shape[1] / (end - left)
    if labels is None:
        return image, [], []
    spans = []
    for low, high in boxes:
        middle, half = scale * ((low + high) / 2 - left), scale * (high - low) / 2
        half = max(0.5 * half, 1.6)
        spans.append((middle - half, middle + half))
    middles = [low + high for low, high in spans]
    if any(b - a < 4 for a, b in pairwise(middles)):
        return None
    return image, [int(labels[i]) for i in chosen], spans


def spoil(canvas, boxes, height, rng):
    """Add remnants of rules to some strings, break strokes of others, and add noise to the ink."""
    left, right = boxes[0][0], boxes[-1][1]
    top, _, bottom, _ = bound(canvas >= 96) or (0, 0, len(canvas), 0)
    if rng.random() < 0.08:  # a remnant of a rule
        thick = max(1, round(height * rng.uniform(0.02, 0.06)))
        long = round(height * rng.uniform(0.1, 0.6))
        if rng.random() < 0.6:
            y = int(rng.integers(top, bottom))
            x = int(rng.integers(left, right))
            canvas[y : y + thick, x : x + long] = 230
        else:
            x = int(rng.integers(left, right))
            y = int(rng.integers(top, bottom))
            canvas[y : y + long, x : x + thick] = 230
    if rng.random() < 0.1:  # the gap of a removed rule
        thick = max(1, round(height * rng.uniform(0.02, 0.06)))
        if rng.random() < 0.6:
            y = int(rng.integers(top, bottom))
            canvas[y : y + thick] = 0
        else:
            x = int(rng.integers(left, right))
            canvas[:, x : x + thick] = 0
    if rng.random() < 0.3:
        part = canvas[top:bottom, left:right]
        noise = rng.normal(0, rng.uniform(5, 40), part.shape)
        part[...] = np.clip(part + noise * (part > 0), 0, 255)


def draw_digit(image, height, pen, slant, edge, rng):
    """Return a cropped digit of about `height` rows, with a changed pen width and slant."""
    top, left, bottom, right = bound(image >= 40) or (0, 0, *image.shape)
    scale = height / 20
    rows = max(4, round(scale * (bottom - top)))
    columns = max(3, round(scale * (right - left) * rng.uniform(0.85, 1.15)))
    radius = int(abs(pen) * scale * 0.5 + rng.random())
    radius = radius if pen > 0 else min(radius, 1)
    margin = radius + 1
    reach = margin + int(np.ceil(abs(slant) * (rows / 2 + margin)))
    y = np.arange(-margin, rows + margin)[:, np.newaxis]
    x = np.arange(-reach, columns + reach) - slant * (rows / 2 - y)
    ink = interpolate(
        image[top:bottom, left:right].astype(np.float32),
        (y + 0.5) * ((bottom - top) / rows) - 0.5,
        (x + 0.5) * ((right - left) / columns) - 0.5,
    )
    if radius:
        wide = dilate(ink, radius) if pen > 0 else 255 - dilate(255 - ink, radius)
        ink = wide if wide.max() >= 160 else ink
    # Edges are soft, as in MNIST, or crisp; thin strokes may break.
    hard = np.clip((ink.astype(np.float32) - rng.uniform(85, 135)) * edge + 128, 0, 255)
    hard = (hard * (ink > 16)).astype(np.uint8)
    ink = hard if hard.max() >= 128 else ink
    top, left, bottom, right = bound(ink >= 96) or (0, 0, *ink.shape)
    return ink[top:bottom, left:right]


def interpolate(image, y, x):
    """Interpolate an image bilinearly at fractional rows and columns; 0 outside."""
    padded = np.pad(image, 2)
    y, x = np.clip(y + 2, 0, padded.shape[0] - 1.001), np.clip(x + 2, 0, padded.shape[1] - 1.001)
    row, column = y.astype(int), x.astype(int)
    down, across = (y - row).astype(np.float32), (x - column).astype(np.float32)
    place = row * padded.shape[1] + column
    flat, width = padded.ravel(), padded.shape[1]
    upper = flat[place] * (1 - across) + flat[place + 1] * across
    lower = flat[place + width] * (1 - across) + flat[place + width + 1] * across
    return (upper * (1 - down) + lower * down + 0.5).astype(np.uint8)


def place(canvas, digit, y, right, height, way, rng):
    """Return the column at which to place a digit after the previous ones."""
    if way == "boxes":
        return right - round(digit.shape[1] * rng.uniform(-0.04, 0.25))
    if way == "beside":
        return right + round(height * rng.uniform(0.02, 0.2))
    if way == "joined":
        return right + round(height * rng.uniform(0.0, 0.15))
    before = canvas[y : y + len(digit)] >= 128
    own = digit >= 128
    # Contact position: align the last previous ink with the digit's first ink in shared rows.
    both = before.any(axis=1) & own.any(axis=1)
    if not both.any():
        return right
    last = before.shape[1] - 1 - before[both, ::-1].argmax(axis=1)
    x = int((last - own[both].argmax(axis=1)).max())
    if way == "overlap":
        return x - round(height * rng.uniform(0.01, 0.16))
    return x + int(rng.integers(-1, 2))


def join(canvas, digit, y, x, height, rng):
    """Draw a stroke that joins the previous ink to a digit."""
    ends = []
    for ink, side, corner in ((canvas, 1, (0, 0)), (digit, -1, (y, x))):
        rows, columns = np.nonzero(ink >= 150)
        if len(rows) == 0:
            return
        i = int(np.argmax(side * columns + rng.uniform(0, 0.2) * height * rng.random(len(rows))))
        ends.append(np.array([rows[i] + corner[0], columns[i] + corner[1]], float))
    start, way = ends[0], ends[1] - ends[0]
    half = height * rng.uniform(0.03, 0.06)
    low = np.floor(np.minimum(*ends) - half - 2).astype(int).clip(0)
    high = np.ceil(np.maximum(*ends) + half + 2).astype(int)
    points = np.stack(np.mgrid[low[0] : high[0], low[1] : high[1]], axis=-1) - start
    along = np.clip(points @ way / max(way @ way, 1.0), 0, 1)
    far = np.hypot(*np.moveaxis(points - along[..., np.newaxis] * way, -1, 0))
    stroke = (255 * np.clip(half + 0.5 - far, 0, 1)).astype(np.uint8)
    part = canvas[low[0] : high[0], low[1] : high[1]]
    np.maximum(part, stroke[: part.shape[0], : part.shape[1]], out=part)


if __name__ == "__main__":
    main()
