/* One pass over a block of a kernel matrix where torch takes three: powers of two, and products with a few columns.
 *
 * Plain C with the vector extensions that GCC and Clang share, compiled for the processor at hand and called by
 * fused.py. Blocks are row-major and contiguous, columns of weights and of products are contiguous each. */

#include <stdint.h>
#include <string.h>

#define inlined static inline __attribute__((always_inline))
#define VECTOR_OF(type) __attribute__((vector_size(64), aligned(sizeof(type)), may_alias)) type

typedef VECTOR_OF(float) floats;
typedef VECTOR_OF(int32_t) ints;
typedef VECTOR_OF(double) doubles;
typedef VECTOR_OF(int64_t) longs;

enum { GROUP = 4 }; /* rows, and columns at most, that share what is loaded */

#define JOINED(a, b) a##_##b
#define PART_OF(name, part) JOINED(name, part)

/* A power of two is taken as 2^n 2^r with |r| <= 1/2. A sum with 1.5 * 2^23 (2^52 in double precision) is rounded to a
 * whole number n, which then stands in its lowest bits; the coefficients of 2^r are ln(2)^k / k!. */

/* 2^r - 1, and 2^n to *scale. */
inlined floats split(floats t, floats *scale) {
    floats moved = t + 12582912.0f;
    floats r = t - (moved - 12582912.0f);
    floats p = 1.5252734e-5f * r + 1.5403530e-4f;
    p = p * r + 1.3333558e-3f;
    p = p * r + 9.6181291e-3f;
    p = p * r + 5.5504109e-2f;
    p = p * r + 2.4022651e-1f;
    p = p * r + 6.9314718e-1f;
    *scale = (floats)(((ints)moved << 23) + (127 << 23));
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
    doubles moved = t + 6755399441055744.0;
    doubles r = t - (moved - 6755399441055744.0);
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
    return (doubles)(((longs)moved << 52) + (1023LL << 52)) * p;
}

#define themselves(values) (values)

/* The functions: see fused_products.h for what they do with the values of a block. */
#define NAME growth_products
#define REAL float
#define VECTOR floats
#define VALUES growth
#define SUM double
#define BOTH_WAYS 0
#include "fused_products.h"

#define NAME power_products_float
#define REAL float
#define VECTOR floats
#define VALUES power_of_floats
#define SUM float
#define BOTH_WAYS 1
#include "fused_products.h"

#define NAME power_products_double
#define REAL double
#define VECTOR doubles
#define VALUES power_of_doubles
#define SUM double
#define BOTH_WAYS 1
#include "fused_products.h"

#define NAME tile_products
#define REAL float
#define VECTOR floats
#define VALUES themselves
#define SUM float
#define BOTH_WAYS 1
#include "fused_products.h"
