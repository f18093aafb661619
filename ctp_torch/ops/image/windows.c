/* Running windows over images: the 3 x 3 median, a Gaussian, and structural similarity under one of 11 x 11, a row at a
 * time, so that what a row needs stays in the first cache. Called by median.py, smoothing.py and ssim.py; images are
 * row-major, one after the other. The loops over a row are plain, and written so that compilers turn them into vectors. */

#include <stdint.h>

#define LESS(a, b) ((a) < (b) ? (a) : (b))
#define MORE(a, b) ((a) > (b) ? (a) : (b))
#define MIDDLE(a, b, c) MORE(LESS(a, b), LESS(MORE(a, b), c))

/* out = medians of n images (h, w), the edge repeated: columns of three are sorted, then three neighbours combined.
 * memory holds 3 (w + 2) values. A comparison overlooks NaN, so rows that hold one are gone over again. */
#define MEDIAN(name, type)                                                                                             \
    static void name##_row(                                                                                            \
        const type *restrict above, const type *restrict here, const type *restrict below, long w,                     \
        type *restrict low, type *restrict middle, type *restrict high, type *restrict out                             \
    ) {                                                                                                                \
        for (long j = 0; j < w; j++) {                                                                                 \
            type a = LESS(above[j], here[j]), b = MORE(above[j], here[j]), c = below[j];                               \
            low[j] = LESS(a, c);                                                                                       \
            middle[j] = MORE(a, LESS(b, c));                                                                           \
            high[j] = MORE(b, c);                                                                                      \
        }                                                                                                              \
        low[-1] = low[0], middle[-1] = middle[0], high[-1] = high[0];                                                  \
        low[w] = low[w - 1], middle[w] = middle[w - 1], high[w] = high[w - 1];                                         \
        for (long j = 0; j < w; j++) {                                                                                 \
            type l = MORE(low[j - 1], low[j]), h = LESS(high[j - 1], high[j]);                                         \
            l = MORE(l, low[j + 1]), h = LESS(h, high[j + 1]);                                                         \
            type m = MIDDLE(middle[j - 1], middle[j], middle[j + 1]);                                                  \
            out[j] = MIDDLE(l, m, h);                                                                                  \
        }                                                                                                              \
    }                                                                                                                  \
    void name(const type *in, long n, long h, long w, type *out, type *memory) {                                       \
        type *low = memory + 1, *middle = low + w + 2, *high = middle + w + 2;                                         \
        for (long i = 0; i < n * h; i++) {                                                                             \
            const type *here = in + i * w, *above = i % h ? here - w : here, *below = (i + 1) % h ? here + w : here;   \
            name##_row(above, here, below, w, low, middle, high, out + i * w);                                         \
            long unordered = 0;                                                                                        \
            for (long j = 0; j < w; j++) unordered |= above[j] != above[j] || here[j] != here[j] || below[j] != below[j]; \
            for (long j = 0; unordered && j < w; j++)                                                                  \
                for (long k = MORE(j - 1, 0); k <= LESS(j + 1, w - 1); k++)                                            \
                    if (above[k] != above[k]) out[i * w + j] = above[k];                                               \
                    else if (here[k] != here[k]) out[i * w + j] = here[k];                                             \
                    else if (below[k] != below[k]) out[i * w + j] = below[k];                                          \
        }                                                                                                              \
    }

MEDIAN(median_float, float)
MEDIAN(median_double, double)
MEDIAN(median_int16, int16_t)
MEDIAN(median_uint8, uint8_t)

/* out = n images (h, w) convolved along y with 2 y_reach + 1 symmetric weights, of which the half from the centre on is
 * given, and along x with 2 x_reach + 1; ends are mirrored. memory holds w + 2 x_reach values. */
#define GAUSSIAN(name, type)                                                                                           \
    static void name##_scaled(const type *restrict in, long w, type weight, type *restrict out) {                      \
        for (long j = 0; j < w; j++) out[j] = weight * in[j];                                                          \
    }                                                                                                                  \
    static void name##_pair(const type *restrict a, const type *restrict b, long w, type weight, type *restrict out) { \
        for (long j = 0; j < w; j++) out[j] += weight * (a[j] + b[j]);                                                 \
    }                                                                                                                  \
    void name(                                                                                                         \
        const type *in, long n, long h, long w, const type *y_weights, long y_reach, const type *x_weights,            \
        long x_reach, type *out, type *memory                                                                          \
    ) {                                                                                                                \
        type *row = memory + x_reach;                                                                                  \
        for (long image = 0; image < n; image++, in += h * w)                                                          \
            for (long i = 0; i < h; i++, out += w) {                                                                   \
                name##_scaled(in + i * w, w, y_weights[0], row);                                                       \
                for (long k = 1; k <= y_reach; k++) {                                                                  \
                    const long above = i >= k ? i - k : k - i, below = i + k < h ? i + k : 2 * (h - 1) - i - k;        \
                    name##_pair(in + above * w, in + below * w, w, y_weights[k], row);                                 \
                }                                                                                                      \
                for (long k = 1; k <= x_reach; k++) row[-k] = row[k], row[w - 1 + k] = row[w - 1 - k];                 \
                name##_scaled(row, w, x_weights[0], out);                                                              \
                for (long k = 1; k <= x_reach; k++) name##_pair(row - k, row + k, w, x_weights[k], out);               \
            }                                                                                                          \
    }

GAUSSIAN(gaussian_float, float)
GAUSSIAN(gaussian_double, double)

enum { WINDOW = 11 };

/* out (n, h - 10, w - 10) = similarity of images x and y (n, h, w) under the window weights x weights; sums are taken of
 * what lies above or below each image's centre, where rounding is small. memory holds 4 w values. */
#define SIMILARITY(name, type)                                                                                         \
    static void name##_down(                                                                                           \
        const type *restrict x, const type *restrict y, type centre, long w, const type *restrict weights,             \
        type *restrict sums                                                                                            \
    ) {                                                                                                                \
        for (long j = 0; j < w; j++) {                                                                                 \
            type first = 0, second = 0, squares = 0, products = 0;                                                     \
            for (int k = 0; k < WINDOW; k++) {                                                                         \
                type a = x[k * w + j] - centre, b = y[k * w + j] - centre, v = weights[k];                             \
                first += v * a, second += v * b;                                                                       \
                squares += v * (a * a + b * b), products += v * (a * b);                                               \
            }                                                                                                          \
            sums[j] = first, sums[w + j] = second, sums[2 * w + j] = squares, sums[3 * w + j] = products;              \
        }                                                                                                              \
    }                                                                                                                  \
    static void name##_across(                                                                                         \
        const type *restrict sums, type centre, long w, const type *restrict weights, type c1, type c2,                \
        type *restrict out                                                                                             \
    ) {                                                                                                                \
        for (long j = 0; j < w - WINDOW + 1; j++) {                                                                    \
            type first = 0, second = 0, squares = 0, products = 0;                                                     \
            for (int k = 0; k < WINDOW; k++) {                                                                         \
                type v = weights[k];                                                                                   \
                first += v * sums[j + k], second += v * sums[w + j + k];                                               \
                squares += v * sums[2 * w + j + k], products += v * sums[3 * w + j + k];                               \
            }                                                                                                          \
            type spread = squares - first * first - second * second, covariance = products - first * second;           \
            first += centre, second += centre;                                                                         \
            out[j] = (2 * first * second + c1) * (2 * covariance + c2) /                                               \
                     ((first * first + second * second + c1) * (spread + c2));                                         \
        }                                                                                                              \
    }                                                                                                                  \
    void name(                                                                                                         \
        const type *x, const type *y, const type *centres, long n, long h, long w, const type *weights,                \
        const type *constants, type *out, type *memory                                                                 \
    ) {                                                                                                                \
        for (long image = 0; image < n; image++)                                                                       \
            for (long i = 0; i < h - WINDOW + 1; i++, out += w - WINDOW + 1) {                                         \
                const long at = (image * h + i) * w;                                                                   \
                name##_down(x + at, y + at, centres[image], w, weights, memory);                                       \
                name##_across(memory, centres[image], w, weights, constants[0], constants[1], out);                    \
            }                                                                                                          \
    }

SIMILARITY(similarity_float, float)
SIMILARITY(similarity_double, double)
