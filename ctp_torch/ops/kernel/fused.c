/* Blocks of a kernel matrix in one pass where torch takes four: dot products, powers of two, and products with a few
 * columns, from registers to sums. And products of a stored tile, which is read once for both of its uses.
 *
 * Plain C with the vector extensions that GCC and Clang share, compiled for the processor at hand and called by
 * fused.py. All matrices are row-major; columns of weights and of products are contiguous each. */

#include <stdint.h>
#include <string.h>

#define inlined static inline __attribute__((always_inline))
#define MADE_OF(type, bytes) __attribute__((vector_size(bytes), aligned(sizeof(type)), may_alias)) type
#define JOINED(a, b) a##_##b
#define PART_OF(name, part) JOINED(name, part)
#define LANES(vector, type) ((long)(sizeof(vector) / sizeof(type)))

/* Bytes of a vector, and rows that share what is loaded: of a block, where 24 of 32 registers hold sums (12 of 16), and
 * of a stored tile. */
#if defined(__AVX512F__)
enum { BYTES = 64, ROWS = 12, GROUP = 8 };
#elif defined(__AVX2__)
enum { BYTES = 32, ROWS = 6, GROUP = 4 };
#else
enum { BYTES = 16, ROWS = 12, GROUP = 8 };
#endif

enum {
    VECTORS = 2,       /* side by side in a tile */
    TOGETHER = 960,    /* rows of a block that pass one panel of columns: their features stay in the second cache */
    SUMMED = 16 * ROWS /* rows of which down is summed in registers' precision before it is added to what is there */
};

typedef MADE_OF(float, BYTES) floats;
typedef MADE_OF(int32_t, BYTES) ints;
typedef MADE_OF(double, BYTES) doubles;
typedef MADE_OF(int64_t, BYTES) longs;

/* A power of two is taken as 2^n 2^r with |r| <= 1/2. A sum with 1.5 * 2^23 (2^52 in double precision) is rounded to a
 * whole number, which then stands in its lowest bits; 127 (1023) more and it is what 2^n has for an exponent. In single precision the coefficients of (2^r - 1) / r keep its
 * largest relative error least (1e-8); in double precision they are ln(2)^k / k!. */

/* 2^r - 1, and 2^n to *scale. */
inlined floats split(floats t, floats *scale) {
    floats moved = t + 12583039.0f;
    floats r = t - (moved - 12583039.0f);
    floats p = 1.540352091e-4f * r + 1.339073580e-3f;
    p = p * r + 9.618237470e-3f;
    p = p * r + 5.550357433e-2f;
    p = p * r + 2.402264980e-1f;
    p = p * r + 6.931471879e-1f;
    *scale = (floats)((ints)moved << 23);
    return p * r;
}

/* 2^t - 1 for |t| < 126, to the last digit also where t is small. */
inlined floats growth(floats t) {
    floats scale, part = split(t, &scale);
    return scale * part + (scale - 1.0f);
}

/* 2^t for t <= 0, to the last digit but one; rounding above 0 counts as 0, and what lies below 2^-120 as that. */
inlined floats power_of_floats(floats t) {
    ints under = t < -120.0f, over = t > 0.0f;
    t = (floats)(((ints)t & ~(under | over)) | (under & (ints)((floats){0} - 120.0f)));
    floats scale, part = split(t, &scale);
    return scale * part + scale;
}

/* The same in double precision, down to 2^-1000. */
inlined doubles power_of_doubles(doubles t) {
    longs under = t < -1000.0, over = t > 0.0;
    t = (doubles)(((longs)t & ~(under | over)) | (under & (longs)((doubles){0} - 1000.0)));
    doubles moved = t + 6755399441056767.0;
    doubles r = t - (moved - 6755399441056767.0);
    doubles p = 2.5678435993488196e-11 * r + 4.4455382718708100e-10;
    p = p * r + 7.0549116208011210e-9;
    p = p * r + 1.0178086009239696e-7;
    p = p * r + 1.3215486790144305e-6;
    p = p * r + 1.5252733804059838e-5;
    p = p * r + 1.5403530393381606e-4;
    p = p * r + 1.3333558146428441e-3;
    p = p * r + 9.6181291076284770e-3;
    p = p * r + 5.5504108664821576e-2;
    p = p * r + 2.4022650695910070e-1;
    p = p * r + 6.9314718055994530e-1;
    p = p * r + 1.0;
    return (doubles)((longs)moved << 52) * p;
}

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
    const int rows, const int n, const size_t count
) {
    floats values[GROUP] = {{0}};
    for (int r = 0; r < rows; r++) memcpy(&values[r], tile + r * m, count * sizeof(float));
    for (int k = 0; k < n; k++) {
        floats weights = {0}, below = {0};
        memcpy(&weights, p + k * stride, count * sizeof(float));
        memcpy(&below, down + k * stride, count * sizeof(float));
        for (int r = 0; r < rows; r++) {
            sums[k][r] += values[r] * weights;
            below += values[r] * q[k * stride + r];
        }
        memcpy(down + k * stride, &below, count * sizeof(float));
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
    for (; j + lanes <= m; j += lanes) step(tile + j, m, p + j, stride, sums, q, down + j, rows, n, sizeof(floats) / 4);
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
