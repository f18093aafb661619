/* void NAME(block, rows, m, p, m_stride, across, q, stride, down, columns): products of a block, which is read once.
 *
 * across[k][i] += sum_j v[i][j] p[k][j] for every column k, where v are the VALUES of the (rows, m) REALs of the block;
 * if BOTH_WAYS also down[k][j] += sum_i v[i][j] q[k][i]. p and down have columns m_stride apart, q and across stride.
 * Included once for each function. */

#define LANES (sizeof(VECTOR) / sizeof(REAL))

/* Some columns of some rows for n columns of weights: all but addresses is known where this is inlined. What a tail
 * leaves free of a vector meets weights of 0. */
inlined void PART_OF(NAME, step)(
    const REAL *block, long m, const REAL *p, long m_stride, VECTOR sums[GROUP][GROUP], const REAL *q, long stride,
    REAL *down, const int rows, const int n, const size_t count
) {
    VECTOR values[GROUP] = {{0}};
    for (int r = 0; r < rows; r++) {
        memcpy(&values[r], block + r * m, count * sizeof(REAL));
        values[r] = VALUES(values[r]);
    }
    for (int k = 0; k < n; k++) {
        VECTOR weights = {0}, below = {0};
        memcpy(&weights, p + k * m_stride, count * sizeof(REAL));
        for (int r = 0; r < rows; r++) sums[k][r] += values[r] * weights;
        if (BOTH_WAYS) {
            memcpy(&below, down + k * m_stride, count * sizeof(REAL));
            for (int r = 0; r < rows; r++) below += values[r] * q[k * stride + r];
            memcpy(down + k * m_stride, &below, count * sizeof(REAL));
        }
    }
}

inlined void PART_OF(NAME, group)(
    const REAL *block, long m, const REAL *p, long m_stride, SUM *across, const REAL *q, long stride, REAL *down,
    const int rows, const int n
) {
    VECTOR sums[GROUP][GROUP] = {{{0}}};
    size_t j = 0, length = m;
    for (; j + LANES <= length; j += LANES)
        PART_OF(NAME, step)(block + j, m, p + j, m_stride, sums, q, stride, down + j, rows, n, LANES);
    if (j < length)
        PART_OF(NAME, step)(block + j, m, p + j, m_stride, sums, q, stride, down + j, rows, n, length - j);
    for (int k = 0; k < n; k++)
        for (int r = 0; r < rows; r++) {
            REAL sum = 0;
            for (size_t i = 0; i < LANES; i++) sum += sums[k][r][i];
            across[k * stride + r] += sum;
        }
}

inlined void PART_OF(NAME, columns)(
    const REAL *block, long n_rows, long m, const REAL *p, long m_stride, SUM *across, const REAL *q, long stride,
    REAL *down, const int n
) {
    long i = 0;
    for (; i + GROUP <= n_rows; i += GROUP)
        PART_OF(NAME, group)(block + i * m, m, p, m_stride, across + i, q + i, stride, down, GROUP, n);
    for (; i < n_rows; i++)
        PART_OF(NAME, group)(block + i * m, m, p, m_stride, across + i, q + i, stride, down, 1, n);
}

void NAME(
    const REAL *block, long rows, long m, const REAL *p, long m_stride, SUM *across, const REAL *q, long stride,
    REAL *down, long columns
) {
    long k = 0;
    for (; k + 2 <= columns; k += 2)
        PART_OF(NAME, columns)(
            block, rows, m, p + k * m_stride, m_stride, across + k * stride, q + k * stride, stride, down + k * m_stride, 2
        );
    if (k < columns)
        PART_OF(NAME, columns)(
            block, rows, m, p + k * m_stride, m_stride, across + k * stride, q + k * stride, stride, down + k * m_stride, 1
        );
}

#undef NAME
#undef REAL
#undef VECTOR
#undef VALUES
#undef SUM
#undef BOTH_WAYS
#undef LANES
