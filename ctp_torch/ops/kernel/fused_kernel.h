/* Exponents of a block from dot products, and the block itself: for one REAL, its VECTOR, and POWER.
 *
 * A block has rows of x (rows, d) and columns of z (m, d), which pass in panels of VECTORS vectors. */

#define PANEL (VECTORS * LANES(VECTOR, REAL))
#define AT(address, v) (((VECTOR *)(address))[v])

/* The panel of up to PANEL columns: packed[k][c] = z[c][k], 0 beyond the last column. */
static void PART_OF(REAL, pack)(const REAL *z, long count, long d, REAL *packed) {
    if (count < PANEL) memset(packed, 0, PANEL * d * sizeof(REAL));
    for (long c = 0; c < count; c++)
        for (long k = 0; k < d; k++) packed[k * PANEL + c] = z[c * d + k];
}

/* t[r][v] = the dot products of some rows with a packed panel; all but addresses and d is known where inlined. */
inlined void PART_OF(REAL, dots)(const REAL *x, long d, const REAL *packed, VECTOR t[ROWS][VECTORS], const int rows) {
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECTORS; v++) t[r][v] = (VECTOR){0};
    for (long k = 0; k < d; k++) {
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < VECTORS; v++) t[r][v] += AT(packed + k * PANEL, v) * x[r * d + k];
    }
}

inlined void PART_OF(REAL, write)(
    const REAL *x, long d, const REAL *packed, REAL *out, long stride, long count, const int rows
) {
    VECTOR t[ROWS][VECTORS];
    PART_OF(REAL, dots)(x, d, packed, t, rows);
    for (int r = 0; r < rows; r++) {
        REAL tail[PANEL], *here = count == PANEL ? out + r * stride : tail;
        for (int v = 0; v < VECTORS; v++) AT(here, v) = POWER(t[r][v]);
        if (here == tail) memcpy(out + r * stride, tail, count * sizeof(REAL));
    }
}

/* out[i][j] = POWER(x[i] . z[j]), rows of out stride apart; memory as memory_REAL says. */
void PART_OF(kernel, REAL)(
    const REAL *x, long rows, const REAL *z, long m, long d, REAL *out, long stride, REAL *memory
) {
    const long together = TOGETHER / PANEL * PANEL;
    for (long first = 0; first < m; first += together) {
        const long columns = m - first < together ? m - first : together;
        for (long j = 0; j < columns; j += PANEL)
            PART_OF(REAL, pack)(z + (first + j) * d, columns - j < PANEL ? columns - j : PANEL, d, memory + j * d);
        for (long i = 0; i < rows;) {
            const int n = i + ROWS <= rows ? ROWS : 1;
            for (long j = 0; j < columns; j += PANEL) {
                const long count = columns - j < PANEL ? columns - j : PANEL;
                REAL *here = out + i * stride + first + j;
                if (n == ROWS)
                    PART_OF(REAL, write)(x + i * d, d, memory + j * d, here, stride, count, ROWS);
                else
                    PART_OF(REAL, write)(x + i * d, d, memory + j * d, here, stride, count, 1);
            }
            i += n;
        }
    }
}

/* Values that the memory of a function must hold for blocks of d features and products with n columns of weights. */
long PART_OF(memory, REAL)(long d, long n) {
    const long packed = (TOGETHER + PANEL) * d, sums = n * (2 * PANEL + TOGETHER * LANES(VECTOR, REAL));
    return packed + sums;
}
