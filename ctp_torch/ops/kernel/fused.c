/* Blocks of a kernel matrix in one pass where torch takes four: dot products, powers of two, and products with a few
 * columns, from registers to sums. And products of a stored tile, which is read once for both of its uses.
 *
 * Plain C with the vector extensions that GCC and Clang share, compiled for the processor at hand and called by
 * fused.py. All matrices are row-major; columns of weights and of products are contiguous each. */

#include "../compute/vectors.h"

enum {
    VECTORS = 2,       /* side by side in a tile */
    TOGETHER = 960,    /* rows of a block that pass one panel of columns: their features stay in the second cache */
    SUMMED = 16 * ROWS /* rows of which down is summed in registers' precision before it is added to what is there */
};

#define REAL float
#define VECTOR floats
#define POWER power_of_floats
#include "fused_kernel.h"

#define NAME growth
#define VALUES growth
#define SUM double
#include "fused_products.h"

#define NAME float
#define VALUES power_of_floats
#define SUM float
#include "fused_products.h"

#undef REAL
#undef VECTOR
#undef POWER
#undef PANEL
#undef AT
#define REAL double
#define VECTOR doubles
#define POWER power_of_doubles
#include "fused_kernel.h"

#define NAME double
#define VALUES power_of_doubles
#define SUM double
#include "fused_products.h"

/* Some values of some rows of a stored tile, for n columns of weights. */
inlined void step(
    const float *tile, long m, const float *p, long stride, floats sums[2][GROUP], const float *q, float *down,
    const int rows, const int n, const long count
) {
    floats values[GROUP] = {{0}};
    for (int r = 0; r < rows; r++) values[r] = values_at(tile + r * m, count);
    for (int k = 0; k < n; k++) {
        floats weights = values_at(p + k * stride, count), below = values_at(down + k * stride, count);
        for (int r = 0; r < rows; r++) {
            sums[k][r] += values[r] * weights;
            below += values[r] * q[k * stride + r];
        }
        put(down + k * stride, below, count);
    }
}

/* Some whole rows of it. */
inlined void some_rows(
    const float *tile, long m, const float *p, float *across, const float *q, float *down, long stride,
    const int rows, const int n
) {
    const long lanes = LANES(floats, float);
    floats sums[2][GROUP] = {{{0}}};
    long j = 0;
    for (; j + lanes <= m; j += lanes) step(tile + j, m, p + j, stride, sums, q, down + j, rows, n, lanes);
    if (j < m) step(tile + j, m, p + j, stride, sums, q, down + j, rows, n, m - j);
    for (int k = 0; k < n; k++)
        for (int r = 0; r < rows; r++) {
            float sum = 0;
            for (long l = 0; l < lanes; l++) sum += sums[k][r][l];
            across[k * stride + r] += sum;
        }
}

/* across[k][i] += sum_j tile[i][j] p[k][j] and down[k][j] += sum_i q[k][i] tile[i][j] for every column k; the tile is
 * (rows, m), and all columns lie stride apart. */
void tile_products(
    const float *tile, long rows, long m, const float *p, float *across, const float *q, float *down, long stride,
    long columns
) {
    for (long k = 0; k < columns;) {
        const long here = k * stride, n = k + 2 <= columns ? 2 : 1;
        long i = 0;
        for (; i + GROUP <= rows; i += GROUP) {
            const float *some = tile + i * m;
            if (n == 2)
                some_rows(some, m, p + here, across + here + i, q + here + i, down + here, stride, GROUP, 2);
            else
                some_rows(some, m, p + here, across + here + i, q + here + i, down + here, stride, GROUP, 1);
        }
        for (; i < rows; i++)
            for (long c = k; c < k + n; c++) {
                const long there = c * stride;
                some_rows(tile + i * m, m, p + there, across + there + i, q + there + i, down + there, stride, 1, 1);
            }
        k += n;
    }
}
