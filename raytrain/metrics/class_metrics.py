"""Metrics of a classifier beside accuracy, from classes and probabilities: plain NumPy.

Where classes have unequal numbers of images, accuracy is mostly that of the large ones. Balanced accuracy and macro F1
count all classes alike; negative log-likelihood and calibration error judge the probabilities.
"""

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Number of bins of the expected calibration error, as in Guo et al. 2017."""
TOP = 5
"""Number of classes of the top-5 accuracy."""


def confusion_matrix(labels: NDArray[np.int64], predicted: NDArray[np.int64], *, classes: int) -> NDArray[np.int64]:
    """Return how often each true class (row) is predicted as each class (column), (classes, classes).

    Args:
        labels: True classes, (N,), from 0 to `classes` - 1.
        predicted: Predicted classes, (N,), in the same range.
        classes: Number of classes.
    """
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def recalls(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of each class's images that are classified correctly, (classes,); NaN without images.

    Args:
        matrix: Confusion matrix, (classes, classes), with a row for each true class.
    """
    return _shares(matrix.diagonal(), matrix.sum(axis=1))


def balanced_accuracy(matrix: NDArray[np.int64]) -> float:
    """Return the mean of the recalls, in [0, 1]; a class without images is left out, NaN if all are.

    K. H. Brodersen et al., ICPR 2010; not adjusted for chance.

    Args:
        matrix: Confusion matrix, (classes, classes), with a row for each true class.
    """
    known = recalls(matrix)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else float("nan")


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Return the mean of the classes' F1 scores, in [0, 1]: the harmonic means of their precision and recall.

    A class without images that is never predicted is left out; one that has only images or only predictions counts 0.
    It is the mean of F1 scores, and not the F1 score of mean precision and mean recall (Opitz and Burst 2019,
    arXiv:1911.03347).

    Args:
        matrix: Confusion matrix, (classes, classes), with a row for each true class.
    """
    scores = _shares(2 * matrix.diagonal(), matrix.sum(axis=0) + matrix.sum(axis=1))
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if len(known) else float("nan")


def label_ranks(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many classes are more probable than the true one, (N,): 0 where the prediction is correct.

    Of equally probable classes the one with the smaller number comes first, as `argmax` takes it.

    Args:
        probabilities: Probability of each class, or anything that grows with it, (N, classes).
        labels: True classes, (N,).
    """
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    return ((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1)


def top_k_accuracy(ranks: NDArray[np.int64], *, k: int = TOP) -> float:
    """Return the share of the images whose true class is among the `k` most probable ones, in [0, 1].

    Args:
        ranks: Number of classes that are more probable than the true one, (N,), from `label_ranks`.
        k: Number of classes; with no more classes than that, the result is 1.
    """
    return float((ranks < k).mean())


def negative_log_likelihood(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the mean of -log of the probability of the true class, in nats.

    A probability of 0 counts as the smallest number of its type: 6e-8 for float16.

    Args:
        probabilities: Probability of each class, (N, classes); each row adds up to 1.
        labels: True classes, (N,).
    """
    least = np.finfo(probabilities.dtype).smallest_subnormal
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    return float(-np.log(np.maximum(own, least).astype(np.float64)).mean())


def expected_calibration_error(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], *, bins: int = BINS
) -> float:
    """Return how far confidence and accuracy lie apart on average, in [0, 1].

    Guo et al. 2017, arXiv:1706.04599, equation 3: images are put into `bins` intervals ((m - 1) / M, m / M] of equal
    width by the probability of their predicted class; the distances between the mean probability and the accuracy of
    the bins are averaged, weighted by their numbers of images. A confidence of 0 is put into the first bin.

    Args:
        confidence: Probability of the predicted class of each image, (N,), in [0, 1].
        correct: Whether each image is classified correctly, (N,).
        bins: Number of bins.
    """
    bin_of = calibration_bins(confidence, bins=bins)
    gaps = np.bincount(bin_of, weights=confidence.astype(np.float64) - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(correct))


def calibration_bins(confidence: NDArray[np.floating], *, bins: int = BINS) -> NDArray[np.int64]:
    """Return the bin of each confidence, (N,), counted from 0: those of `expected_calibration_error`."""
    # in float64: bounds such as 1/3 are not the same number in float32
    return np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)


def _shares(counts: NDArray[np.int64], totals: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(counts, totals, out=np.full(len(counts), np.nan), where=totals > 0)
