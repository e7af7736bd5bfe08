"""LeNet-5 as a scikit-learn estimator; needs ``pip install 'lenet5c[sklearn]'``."""

from lenet5c._optional import require

require("sklearn", "sklearn", "scikit-learn estimators")

from lenet5c.sklearn.classifier import LeNet5Classifier  # noqa: E402

__all__ = ["LeNet5Classifier"]
