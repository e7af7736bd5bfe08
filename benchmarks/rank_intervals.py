"""Rank-based intervals for a change, from few measurements with heavy-tailed noise.

The only assumption is that the noise has the same distribution on both sides. Without a change,
positive and negative differences are then equally likely (one sample), as are all orders of the
values (two samples). The null distributions are exact. Both methods and their estimates are by
Hodges and Lehmann ("Estimates of location based on rank tests", Annals of Mathematical Statistics
34, 1963); Hollander and Wolfe, Nonparametric Statistical Methods, chapters 3.3 and 4.3, describe
the intervals.
"""

import statistics


def center(differences, alpha):
    """Return estimate and interval of the center of paired differences, by Wilcoxon's signed ranks.

    The interval misses the center with a probability of at most `alpha`. Raises ValueError if so
    few differences cannot give such an interval.
    """
    n = len(differences)
    averages = sorted((differences[i] + differences[j]) / 2 for i in range(n) for j in range(i, n))
    return interval(averages, signed_rank_counts(n), alpha)


def shift(first, second, alpha):
    """Return estimate and interval of the shift of the second sample, by Mann-Whitney."""
    differences = sorted(b - a for a in first for b in second)
    return interval(differences, rank_sum_counts(len(first), len(second)), alpha)


def fewest(alpha):
    """Return the minimum number of paired differences for an interval with this `alpha`."""
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
    """Return the number of the 2**n signs of the ranks 1 to n with each sum of positive ranks."""
    counts = [1]
    for rank in range(1, n + 1):
        longer = counts + [0] * rank
        for total, count in enumerate(counts):
            longer[total + rank] += count
        counts = longer
    return counts


def rank_sum_counts(m, n):
    """Return the number of orders of m and n values with each number of inversions."""
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
