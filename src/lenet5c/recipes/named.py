"""Named recipes: complete configurations of a training run, listed by ``lenet5c recipes``.

Settings that are not listed have the defaults of `Recipe`.
"""

from dataclasses import replace
from typing import Any

from lenet5c.datasets.distortion import NAMED
from lenet5c.recipes.recipe import Recipe

# Common settings of the five reproduced reports: softmax and cross-entropy, a constant rate. If a
# report used its test images during training, the recipe has no validation set and evaluates the
# test images once, at the end.
PLAIN = Recipe(
    optimizer="adam",
    lr=1e-3,
    schedule="constant",
    weight_decay=0.0,
    label_smoothing=0.0,
    validation=0,
)

DEFAULT = Recipe(
    summary="LeNet-5 with ReLU and average pooling, one-cycle AdamW",
    lr=6e-3,
    optimizer_settings={"betas": [0.9, 0.99]},
    schedule_settings={"warm_up": 0.15},
)

BEST = replace(
    DEFAULT,
    summary="the default net on distorted digits, 80 epochs",
    epochs=80,
    lr=3e-3,
    schedule_settings={"warm_up": 0.1},
    label_smoothing=0.0,
    validation=0,
    distortion=NAMED["modern"],
)

PYNET = replace(
    PLAIN,
    summary="C5 as a convolution, plain SGD with L2, 1000 epochs",
    reproduces="PyNet's LeNet-5 in NumPy, on an i7-8700 at about 166 s per epoch",
    notes="The report states a rate of 1e-3 and an L2 factor of 1e-3, but its weight gradients are "
    "sums over the batch of 128, not means. With mean gradients, as here, this corresponds to "
    "a rate of 0.128 and a decay of 1e-3 / 128; with a rate of 1e-3, the loss stays at "
    "2.30 for at least 40 epochs. With weights from N(0, 0.01), it still stays there for "
    "about 50 epochs. In the report, bias gradients are means without weight decay; here, "
    "biases are treated like weights. The report uses the same order in every epoch and "
    "drops the last batch; here, images are reshuffled and none is dropped.",
    epochs=1000,
    batch_size=128,
    preparation="resized-centered",
    optimizer="sgd",
    lr=0.128,
    momentum=0.0,
    weight_decay=1e-3 / 128,
    model={"pooling": "max", "c5": "conv", "init": {"normal": 0.01}},
)

PAPER1998 = Recipe(
    summary="the net of 1998: connection table, trained subsampling, RBF outputs, SDLM",
    reproduces="LeCun, Bottou, Bengio and Haffner (1998), section III: 20 epochs, two to three "
    "days on an SGI Origin 2000",
    notes="The epochs, order, input, mu and curvature samples are those of the paper. Its rates "
    "and "
    "initial weights are inconsistent: with weights from U(-2.4 / F, 2.4 / F), training "
    "fails; with those that give the quoted step sizes, U(-1.1 / sqrt(F), 1.1 / sqrt(F)), it "
    "diverges in the second epoch. A quarter of the rates, used here, reproduces the "
    "training curve in all epochs. The paper does not state which of its losses gave the "
    "results; this is eq. 8.",
    epochs=20,
    batch_size=1,
    net="lenet5_1998",
    preparation="paper1998",
    order="constant",
    validation=0,
    loss="mle",
    label_smoothing=0.0,
    optimizer="sdlm",
    lr=5e-4 / 4,
    weight_decay=0.0,
    optimizer_settings={"mu": 0.02},
    schedule="piecewise",
    schedule_settings={"factors": [1, 0.4, 0.2, 0.1, 0.02], "epochs": [2, 5, 8, 12]},
)

RECIPES = {
    "default": DEFAULT,
    "fast": replace(
        DEFAULT,
        summary="28 x 28 pixels and 20 maps in C3, one epoch, on all training images",
        epochs=1,
        input_size=28,
        model={"channels": [6, 20]},
        batch_size=32,
        lr=9e-3,
        optimizer_settings={"betas": [0.8, 0.99]},
        schedule_settings={"warm_up": 0.3},
        validation=0,
    ),
    "best": BEST,
    "record": replace(
        BEST,
        summary="LeNet-5 with GELU on distorted digits, taught by five teachers",
        notes="The teachers have the same net with different initial weights. They classify 20 "
        "augmentations of each image, each of which is then used in eight epochs.",
        epochs=160,
        batch_size=96,
        lr=3.7e-3,
        model={"activation": "gelu"},
        distortion=NAMED["modern"] | {"translation": 1.5, "rotation": 12.0, "elastic": 20.0},
        draws=20,
        teachers=5,
        teacher={"epochs": 30},
        teaching_temperature=2.0,
    ),
    "signs": replace(
        DEFAULT,
        summary="a net with more maps on distorted digits and signs, for --data signs",
        epochs=30,
        model={"channels": [12, 24], "units": [100, 72]},
        lr=3e-3,
        schedule_settings={"warm_up": 0.1},
        label_smoothing=0.0,
        validation=4000,
        distortion=NAMED["modern"],
    ),
    "small-color": Recipe(
        summary="a small net for color images, or images of 32 to 96 pixels",
        net="small_color",
        input_size="images",
        epochs=12,
        epoch_images=6000,
        batch_size=32,
        lr=5e-3,
        distortion=NAMED["pictures-noflip"]
        | {"crop": 0.0, "erasing": 0.0, "rotation": 20.0, "hue": 180.0, "probability": 0.5},
        optimizer_settings={"betas": [0.9, 0.99]},
        schedule_settings={"warm_up": 0.15},
    ),
    "finetune": Recipe(
        summary="fine-tuning of a trained model, for few images",
        epochs=12,
        lr=1e-3,
        optimizer="adam",
        weight_decay=0.0,
        schedule="cosine",
        label_smoothing=0.0,
        layer_decay=0.7,
        validation=0.1,
        least_validation=200,
        epoch_images=12_000,
        split="stratified",
        keep="best",
        average=0.998,
        distortion=NAMED["modern"],
    ),
    "paper1998": PAPER1998,
    "paper1998-distorted": replace(
        PAPER1998,
        summary="the net of 1998 on distorted digits",
        reproduces="the same paper's training set with 540,000 distorted images",
        notes="The distortions of the paper, applied to nine digits in ten and drawn anew in each "
        "epoch; "
        "the paper gives no ranges. Otherwise as paper1998.",
        distortion=NAMED["paper1998"],
    ),
    "mean-image": replace(
        PLAIN,
        summary="mean image subtracted, weights from N(0, 0.001), Adam",
        reproduces="a LeNet-5 in NumPy loops, 6:53 per epoch",
        notes="Pixels are not scaled; only the mean of the training images is subtracted. The "
        "report "
        "gives one result of one run. At a constant rate, the accuracy of the last weights "
        "fluctuates: with --average 0, five seeds had a test accuracy of 98.85 % ± 0.10. Here, a "
        "running average of the weights is used, which was better by 0.5 % on validation images "
        "(two seeds).",
        epochs=20,
        batch_size=200,
        preparation="mean-image",
        split="last",
        validation=1000,
        optimizer_settings={"eps": 1e-7},
        model={"pooling": "max", "init": {"normal": 0.001}},
        average=0.999,
    ),
    "pynet": PYNET,
    "pynet-short": replace(
        PYNET,
        summary="a substitute for pynet: He initialization, 60 epochs",
        reproduces="",
        notes="With weights from N(0, 0.01), the loss stays at 2.30 for longer than this run; "
        "with He "
        "initialization, it decreases at once.",
        epochs=60,
        model={"pooling": "max", "c5": "conv"},
    ),
    "conv3x3": replace(
        PLAIN,
        summary="28 x 28 input, 3 x 3 convolutions from N(0, 0.01), Adam",
        reproduces="a LeNet-5 in NumPy with im2col, on an i7-11800H at about 60 s per epoch",
        notes="The text describes 32 x 32 images and 5 x 5 filters; its code, which is followed "
        "here, "
        "uses neither. It samples each batch independently, so that some images of an epoch occur "
        "twice and others not at all; here, each occurs once. It states the initialization of "
        "the convolutions but not of the fully connected layers; He initialization is used here, "
        "which did better on validation images (98.35 %, three seeds) than N(0, 0.01) (98.04 %, "
        "four seeds).",
        epochs=10,
        batch_size=100,
        preparation="unit-range",
        model={"pooling": "max", "kernel_size": 3, "padding": 1, "conv_init": {"normal": 0.01}},
    ),
    "average-pool": replace(
        PLAIN,
        summary="average pooling, C5 as a convolution, 80 : 20 split, Adam",
        reproduces="a LeNet-5 in PyTorch, on an RTX 3060",
        notes="PyTorch draws weights and biases uniformly within 1 / sqrt(fan_in); here, He "
        "initialization is used, and biases are 0.",
        epochs=10,
        batch_size=64,
        preparation="double-range",
        validation=0.2,
        model={"padding": [2, 0], "c5": "conv"},
    ),
    "mirrored": replace(
        PLAIN,
        summary="mirrored digits, no activation after C3, Adam",
        reproduces="a LeNet-5 in PyTorch on a CPU",
        notes="Half of the training images are mirrored. This is a mistake, as mirrored digits "
        "are not "
        "digits, kept for comparison. Initialization as in average-pool.",
        epochs=5,
        batch_size=64,
        preparation="resized",
        distortion={"flip": 0.5},
        model={"pooling": "max", "without_activation": ["conv2"]},
    ),
}


def recipe(name: str = "default", **changes: Any) -> Recipe:
    """Return the recipe with this name, with settings changed as by `Recipe.change`.

    Parameters
    ----------
    name : str
        One of `RECIPES`.
    **changes
        Fields of a `Recipe`, or single options of the net, such as ``pooling="max"``.

    Raises
    ------
    ValueError
        If there is no such recipe, or a value is out of range or incompatible with others.
    TypeError
        If there is no such field.

    Examples
    --------
    >>> from lenet5c.recipes import recipe
    >>> recipe("mean-image").optimizer_settings, recipe("mean-image", optimizer="sgd").lr
    ({'eps': 1e-07}, 0.05)
    """
    if not isinstance(name, str) or name not in RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {name!r}")
    return RECIPES[name].change(**changes)
