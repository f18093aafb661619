/* products_NAME: products of a block with VALUES(x[i] . z[j]) in row i and column j, which is never written down.
 *
 * For the REAL, VECTOR and PANEL of fused_kernel.h, included before; SUM is what down is made of. */

/* Some rows of a panel, for n columns of weights; what a tail leaves free of a panel meets weights of 0. */
inlined void PART_OF(NAME, tile)(
    const REAL *x, long d, const REAL *packed, const REAL *q, long row_stride, REAL *below, const REAL *weights,
    REAL *wide, long wide_stride, long n, const int rows
) {
    VECTOR t[ROWS][VECTORS];
    PART_OF(REAL, dots)(x, d, packed, t, rows);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECTORS; v++) t[r][v] = VALUES(t[r][v]);
    for (long k = 0; k < n; k++) {
        for (int v = 0; v < VECTORS; v++) {
            VECTOR sum = t[0][v] * q[k * row_stride]; /* apart, rounded at the scale of few terms */
            for (int r = 1; r < rows; r++) sum += t[r][v] * q[k * row_stride + r];
            AT(below + k * PANEL, v) += sum;
        }
        for (int r = 0; wide && r < rows; r++) {
            VECTOR sum = AT(wide + k * wide_stride, r);
            for (int v = 0; v < VECTORS; v++) sum += t[r][v] * AT(weights + k * PANEL, v);
            AT(wide + k * wide_stride, r) = sum;
        }
    }
}

/* down[k][j] += sum_i q[k][i] K[i][j] for each of n columns k; with across also across[k][i] += sum_j K[i][j] p[k][j].
 * q and across have columns row_stride apart, p and down m_stride; memory as memory_REAL says. */
void PART_OF(products, NAME)(
    const REAL *x, long rows, const REAL *z, long m, long d, const REAL *q, REAL *across, long row_stride,
    const REAL *p, SUM *down, long m_stride, long n, REAL *memory
) {
    const long lanes = LANES(VECTOR, REAL);
    REAL *packed = memory, *below = packed + PANEL * d, *weights = below + n * PANEL;
    REAL *wide = across ? weights + n * PANEL : 0;
    for (long first = 0; first < rows; first += TOGETHER) {
        const long n_rows = rows - first < TOGETHER ? rows - first : TOGETHER;
        if (across) memset(wide, 0, n * n_rows * lanes * sizeof(REAL));
        for (long j = 0; j < m; j += PANEL) {
            const long count = m - j < PANEL ? m - j : PANEL;
            PART_OF(REAL, pack)(z + j * d, count, d, packed);
            if (across) {
                memset(weights, 0, n * PANEL * sizeof(REAL));
                for (long k = 0; k < n; k++) memcpy(weights + k * PANEL, p + k * m_stride + j, count * sizeof(REAL));
            }
            for (long i = 0; i < n_rows;) {
                const long stop = i + SUMMED < n_rows ? i + SUMMED : n_rows;
                memset(below, 0, n * PANEL * sizeof(REAL));
                while (i < stop) {
                    const REAL *some = x + (first + i) * d, *some_q = q + first + i;
                    REAL *some_wide = wide ? wide + i * lanes : 0;
                    if (i + ROWS <= stop) {
                        PART_OF(NAME, tile)(
                            some, d, packed, some_q, row_stride, below, weights, some_wide, n_rows * lanes, n, ROWS
                        );
                        i += ROWS;
                    } else {
                        PART_OF(NAME, tile)(
                            some, d, packed, some_q, row_stride, below, weights, some_wide, n_rows * lanes, n, 1
                        );
                        i += 1;
                    }
                }
                for (long k = 0; k < n; k++)
                    for (long c = 0; c < count; c++) down[k * m_stride + j + c] += below[k * PANEL + c];
            }
        }
        for (long k = 0; across && k < n; k++)
            for (long i = 0; i < n_rows; i++) {
                REAL sum = 0;
                for (long l = 0; l < lanes; l++) sum += wide[(k * n_rows + i) * lanes + l];
                across[k * row_stride + first + i] += sum;
            }
    }
}

#undef NAME
#undef VALUES
#undef SUM
