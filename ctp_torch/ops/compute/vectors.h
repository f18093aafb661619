/* Vectors of the processor at hand, by the extensions that GCC and Clang share, and powers of two of them. */

#ifndef VECTORS_H
#define VECTORS_H

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

typedef MADE_OF(float, BYTES) floats;
typedef MADE_OF(int32_t, BYTES) ints;
typedef MADE_OF(double, BYTES) doubles;
typedef MADE_OF(int64_t, BYTES) longs;

/* The first n values at a place, and 0 behind them; and back. Whole vectors are moved as such: by memcpy they would pass
 * through memory in halves, which costs more than most of what is done to them. */
inlined floats values_at(const float *place, const long n) {
    floats values = {0};
    if (n == LANES(floats, float)) return *(const floats *)place;
    memcpy(&values, place, n * sizeof(float));
    return values;
}

inlined void put(float *place, floats values, const long n) {
    if (n == LANES(floats, float)) *(floats *)place = values;
    else memcpy(place, &values, n * sizeof(float));
}

/* A power of two is taken as 2^n 2^r with |r| <= 1/2. A sum with 1.5 * 2^23 (2^52 in double precision) is rounded to a
 * whole number, which then stands in its lowest bits; 127 (1023) more and it is what 2^n has for an exponent. In single
 * precision the coefficients of (2^r - 1) / r keep its largest relative error least (1e-8); in double precision they are
 * ln(2)^k / k!. */

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

/* log2 of positive, normal numbers: of a mantissa between the roots of 1/2 and 2, by the series of the area tangent. */
inlined floats log2_of_floats(floats x) {
    ints power = ((ints)x - 0x3f3504f3) >> 23;
    floats m = (floats)((ints)x - (power << 23));
    floats z = (m - 1.0f) / (m + 1.0f), square = z * z;
    floats p = 0.2623081893f * square + 0.3205988980f;
    p = p * square + 0.4121985831f;
    p = p * square + 0.5770780164f;
    p = p * square + 0.9617966939f;
    p = p * square + 2.8853900818f;
    return __builtin_convertvector(power, floats) + p * z;
}

#endif
