/* Means under the posterior over a dictionary, from scores to sums in two passes over a row that stays in the cache.
 * Called by dictionary.py. */

#include "../compute/vectors.h"

/* The larger of each pair. */
inlined floats larger(floats a, floats b) {
    ints first = a > b;
    return (floats)(((ints)a & first) | ((ints)b & ~first));
}

/* Some scores of a row to the log2 of their weights, in place; the larger of each and of top. */
inlined floats weigh(
    float *scores, const float *prior, floats per_energy, floats half, floats least, floats top, const long n
) {
    floats score = larger(values_at(scores, n), (floats){0});
    floats misfit = larger(1.0f - score * score * per_energy, least);
    floats weight = values_at(prior, n) - half * log2_of_floats(misfit);
    put(scores, weight, n);
    return larger(weight, top);
}

/* Some of those weights, as parts of the largest, to the sums. */
inlined void sum_up(
    const float *weights, const float *values, floats top, floats *restrict sum, floats *restrict mean, const long n
) {
    floats weight = power_of_floats(values_at(weights, n) - top);
    for (long l = n; l < LANES(floats, float); l++) weight[l] = 0.0f; /* beyond the end of the row */
    *sum += weight;
    *mean += weight * values_at(values, n);
}

/* out[i] = sum_j w_ij values[j] / sum_j w_ij with w_ij = 2^prior[j] max(1 - max(s_ij, 0)^2 / energies[i], least)^-half for
 * the scores s (rows, m), which are overwritten. constants are half and least. */
void posterior_means(
    float *scores, long rows, long m, const float *energies, const float *prior, const float *values,
    const float *constants, float *out
) {
    const long lanes = LANES(floats, float);
    const floats zero = {0}, half = zero + constants[0], least = zero + constants[1];
    for (long i = 0; i < rows; i++, scores += m) {
        floats top = zero - 3e38f, per_energy = zero + 1.0f / energies[i], sum = zero, mean = zero;
        long j = 0;
        for (; j + lanes <= m; j += lanes) top = weigh(scores + j, prior + j, per_energy, half, least, top, lanes);
        if (j < m) top = weigh(scores + j, prior + j, per_energy, half, least, top, m - j);
        float highest = top[0], whole = 0, part = 0;
        for (long l = 1; l < lanes; l++) highest = top[l] > highest ? top[l] : highest;
        for (j = 0; j + lanes <= m; j += lanes)
            sum_up(scores + j, values + j, zero + highest, &sum, &mean, lanes);
        if (j < m) sum_up(scores + j, values + j, zero + highest, &sum, &mean, m - j);
        for (long l = 0; l < lanes; l++) whole += sum[l], part += mean[l];
        out[i] = part / whole;
    }
}
