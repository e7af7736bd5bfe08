"""What others reported for the systems that recipes reproduce: the figures our own are held against."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reported:
    """Facts on one recipe.

    Attributes
    ----------
    accuracy : float or None
        In percent; None where nothing was reported.
    on : {'test', 'training'}
        The images of that accuracy.
    figure : str
        What else there is to say of it.
    time : str
        What the training took there, and on what.
    epochs : int or None
    test_errors, train_errors : tuple of float
        Error in percent after, and while, each epoch, where a curve was published.
    sizes : dict
        Number of training images -> test error in percent, for all training images, too.
    seeds : int
        How many trainings a report takes unless it is told otherwise.
    """

    accuracy: float | None = None
    on: str = "test"
    figure: str = ""
    time: str = ""
    epochs: int | None = None
    test_errors: tuple[float, ...] = ()
    train_errors: tuple[float, ...] = ()
    sizes: dict[int, float] = field(default_factory=dict)
    seeds: int = 5


PAPER = "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition, 1998"

REPORTED = {
    "fast": Reported(seeds=10),
    "pynet-short": Reported(seeds=3),
    "paper1998": Reported(
        accuracy=99.05,
        figure="an error of 0.95 %, known to about 0.1 %",
        time="2 to 3 days (200 MHz R10000)",
        epochs=20,
        # Read off the vector data of the paper's Fig. 5, to about 0.02. It draws 21 points; of the last eight, training
        # falls from 0.38 to 0.36.
        test_errors=(
            2.67,
            2.24,
            1.47,
            1.42,
            1.42,
            1.08,
            1.03,
            1.05,
            0.97,
            0.95,
            0.95,
            0.97,
            0.95,
            *[0.95] * 8,
        ),
        train_errors=(
            4.89,
            3.06,
            1.76,
            1.47,
            1.21,
            0.90,
            0.77,
            0.69,
            0.56,
            0.49,
            0.46,
            0.44,
            0.41,
            *(0.38 - 0.02 * i / 7 for i in range(8)),
        ),
        sizes={15_000: 1.68, 30_000: 1.14, 60_000: 0.94},
        seeds=4,
    ),
    "paper1998-distorted": Reported(
        accuracy=99.2,
        figure="an error of 0.8 %, known to about 0.1 %; Fig. 6 has it at 0.82 %",
        time="not stated",
        epochs=20,
        sizes={60_000: 0.82},
        seeds=4,
    ),
    "mean-image": Reported(accuracy=99.08, time="2 h 18 min (6:53 an epoch)", epochs=20),
    "pynet": Reported(accuracy=99.04, time="46 h (166 s an epoch, i7-8700)", epochs=1000, seeds=2),
    "conv3x3": Reported(accuracy=98.29, time="10 min (60 s an epoch, i7-11800H)", epochs=10),
    "average-pool": Reported(accuracy=98.77, time="not stated (RTX 3060 Laptop)", epochs=10),
    "mirrored": Reported(
        accuracy=97.28,
        on="training",
        figure="the mean accuracy on training images, during training",
        time="not stated",
        epochs=5,
    ),
}

#: Recipes that are compared on the same test images, where a report has both.
PAIRS = (
    ("fast", "default"),
    ("default", "best"),
    ("paper1998", "paper1998-distorted"),
    ("paper1998", "default"),
)
#: Recipes whose errors are shown one by one; the first of the report if it has none of these.
ERRORS_SHOWN = ("best", "paper1998-distorted")


def reported(name):
    """The facts on a recipe; those of a recipe that reproduces nothing are empty."""
    return REPORTED.get(name, Reported())
