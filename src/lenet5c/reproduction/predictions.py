"""What a trained model says of each image."""

from lenet5c.nn import softmax


def predict(trained, images):
    """Classes and how sure the model is of them.

    Parameters
    ----------
    trained : lenet5c.training.TrainedModel
    images : ndarray of uint8, shape (N, C, h, w)

    Returns
    -------
    classes : ndarray of int, shape (N,)
    confidence : ndarray of float32, shape (N,)
        The probability that the model gives to its class, 0 to 1.
    """
    outputs = trained.logits(images)
    return outputs.argmax(axis=1), softmax(outputs).max(axis=1)
