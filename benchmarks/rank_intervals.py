"""Intervals for a change from few, noisy, perhaps heavy-tailed measurements, by ranks alone.

Nothing is assumed of the noise but that it is alike on both sides, so that under no change a
difference is as likely positive as negative (one sample), or any order of the values as likely as
any other (two samples). The null distributions are counted, not approximated. Both methods and
their estimates are Hodges and Lehmann's ("Estimates of location based on rank tests", Annals of
Mathematical Statistics 34, 1963); Hollander and Wolfe, Nonparametric Statistical Methods, chapters
3.3 and 4.3, describe the intervals.
"""

import statistics


def center(differences, alpha):
    """Estimate and interval of the center of paired differences, by Wilcoxon's signed ranks.

    The interval misses the center with a probability of at most `alpha`. Raises ValueError if so
    few differences cannot give such an interval.
    """
    n = len(differences)
    averages = sorted((differences[i] + differences[j]) / 2 for i in range(n) for j in range(i, n))
    return interval(averages, signed_rank_counts(n), alpha)


def shift(first, second, alpha):
    """Estimate and interval of how much the second sample lies above the first, by Mann-Whitney."""
    differences = sorted(b - a for a in first for b in second)
    return interval(differences, rank_sum_counts(len(first), len(second)), alpha)


def fewest(alpha):
    """Return how many paired differences an interval of this `alpha` needs."""
    n = 1
    while 2 / 2**n > alpha:
        n += 1
    return n


def interval(ordered, counts, alpha):
    """Return the median of `ordered` and its interval.

    `counts[w]` is how many of the equally likely outcomes under no change have the statistic w.
    """
    cut, tail, total = 0, 0, sum(counts)
    while 2 * (tail + counts[cut]) <= alpha * total:
        tail += counts[cut]
        cut += 1
    if cut == 0:
        raise ValueError(f"{len(ordered)} values cannot give an interval of {alpha:.1e}")
    return statistics.median(ordered), ordered[cut - 1], ordered[-cut]


def signed_rank_counts(n):
    """Of the 2**n ways to sign the ranks 1 to n: how many give each sum of the positive ones."""
    counts = [1]
    for rank in range(1, n + 1):
        longer = counts + [0] * rank
        for total, count in enumerate(counts):
            longer[total + rank] += count
        counts = longer
    return counts


def rank_sum_counts(m, n):
    """Of the ways to order m and n values: how many have each number of inversions."""
    # The Gaussian binomial coefficient, as a polynomial: of C(i + j, i), by the larger element.
    rows = [[1] for _ in range(n + 1)]
    for i in range(1, m + 1):
        previous, rows = rows, [[1]]
        for j in range(1, n + 1):
            counts = [0] * (i * j + 1)
            for total, count in enumerate(previous[j]):
                counts[total + j] += count
            for total, count in enumerate(rows[j - 1]):
                counts[total] += count
            rows.append(counts)
    return rows[n]
