/* The vectors of the kernels for double: as simd.h has v16, a vec of 64 bytes, which is 8 doubles,
 * in as many native registers, so kernels that fit the register file in float also fit in double.
 */
#ifndef LENET5C_DOUBLES_H
#define LENET5C_DOUBLES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ND_ONE 0x3ff0000000000000LL /* the bits of 1.0 */

#if defined(_MSC_VER) && !defined(__clang__)
#define VEC_INLINE static __forceinline
#else
#define VEC_INLINE static inline __attribute__((always_inline, unused))
#endif

#if defined(__AVX512F__)
#include <immintrin.h>
#define VEC_PARTS 1
#define ND_REGISTERS 32
typedef __m512d nd;
#define nd_load(p) _mm512_loadu_pd(p)
#define nd_store(p, a) _mm512_storeu_pd(p, a)
#define nd_set1(a) _mm512_set1_pd(a)
#define nd_add(a, b) _mm512_add_pd(a, b)
#define nd_sub(a, b) _mm512_sub_pd(a, b)
#define nd_mul(a, b) _mm512_mul_pd(a, b)
#define nd_div(a, b) _mm512_div_pd(a, b)
#define nd_max(a, b) _mm512_max_pd(a, b)
#define nd_where_lt(a, b, x, y) _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), y, x)
#define nd_scale(a, n) _mm512_scalef_pd(a, n)
#define nd_fma(a, b, c) _mm512_fmadd_pd(a, b, c)
#define nd_low(a, b) _mm512_unpacklo_pd(a, b)
#define nd_high(a, b) _mm512_unpackhi_pd(a, b)

#elif defined(__AVX2__) && (defined(__FMA__) || defined(_MSC_VER))
#include <immintrin.h>
#define VEC_PARTS 2
#define ND_REGISTERS 16
typedef __m256d nd;
#define nd_load(p) _mm256_loadu_pd(p)
#define nd_store(p, a) _mm256_storeu_pd(p, a)
#define nd_set1(a) _mm256_set1_pd(a)
#define nd_add(a, b) _mm256_add_pd(a, b)
#define nd_sub(a, b) _mm256_sub_pd(a, b)
#define nd_mul(a, b) _mm256_mul_pd(a, b)
#define nd_div(a, b) _mm256_div_pd(a, b)
#define nd_max(a, b) _mm256_max_pd(a, b)
#define nd_where_lt(a, b, x, y) _mm256_blendv_pd(y, x, _mm256_cmp_pd(a, b, _CMP_LT_OQ))
#define nd_shift_in(a)                                                                             \
  _mm256_castsi256_pd(                                                                             \
      _mm256_add_epi64(_mm256_slli_epi64(_mm256_castpd_si256(a), 52), _mm256_set1_epi64x(ND_ONE)))
#define nd_fma(a, b, c) _mm256_fmadd_pd(a, b, c)
#define nd_low(a, b) _mm256_unpacklo_pd(a, b)
#define nd_high(a, b) _mm256_unpackhi_pd(a, b)

#elif defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define VEC_PARTS 4
#define ND_REGISTERS 16
typedef __m128d nd;
#define nd_load(p) _mm_loadu_pd(p)
#define nd_store(p, a) _mm_storeu_pd(p, a)
#define nd_set1(a) _mm_set1_pd(a)
#define nd_add(a, b) _mm_add_pd(a, b)
#define nd_sub(a, b) _mm_sub_pd(a, b)
#define nd_mul(a, b) _mm_mul_pd(a, b)
#define nd_div(a, b) _mm_div_pd(a, b)
#define nd_max(a, b) _mm_max_pd(a, b)
VEC_INLINE nd nd_where_lt(nd a, nd b, nd x, nd y) {
  nd mask = _mm_cmplt_pd(a, b);
  return _mm_or_pd(_mm_and_pd(mask, x), _mm_andnot_pd(mask, y));
}
#define nd_shift_in(a)                                                                             \
  _mm_castsi128_pd(                                                                                \
      _mm_add_epi64(_mm_slli_epi64(_mm_castpd_si128(a), 52), _mm_set1_epi64x(ND_ONE)))
#define nd_fma(a, b, c) _mm_add_pd(_mm_mul_pd(a, b), c)
#define nd_low(a, b) _mm_unpacklo_pd(a, b)
#define nd_high(a, b) _mm_unpackhi_pd(a, b)

#elif defined(__aarch64__) || defined(_M_ARM64)
#include <arm_neon.h>
#define VEC_PARTS 4
#define ND_REGISTERS 32
typedef float64x2_t nd;
#define nd_load(p) vld1q_f64(p)
#define nd_store(p, a) vst1q_f64(p, a)
#define nd_set1(a) vdupq_n_f64(a)
#define nd_add(a, b) vaddq_f64(a, b)
#define nd_sub(a, b) vsubq_f64(a, b)
#define nd_mul(a, b) vmulq_f64(a, b)
#define nd_div(a, b) vdivq_f64(a, b)
#define nd_max(a, b) vbslq_f64(vcgtq_f64(a, b), a, b)
#define nd_where_lt(a, b, x, y) vbslq_f64(vcltq_f64(a, b), x, y)
#define nd_shift_in(a)                                                                             \
  vreinterpretq_f64_s64(                                                                           \
      vaddq_s64(vshlq_n_s64(vreinterpretq_s64_f64(a), 52), vdupq_n_s64(ND_ONE)))
#define nd_fma(a, b, c) vfmaq_f64(c, a, b)
#define nd_low(a, b) vzip1q_f64(a, b)
#define nd_high(a, b) vzip2q_f64(a, b)

#else
#define VEC_PARTS 8
#define ND_REGISTERS 16
typedef double nd;
#define nd_load(p) (*(p))
#define nd_store(p, a) (*(p) = (a))
#define nd_set1(a) (a)
#define nd_add(a, b) ((a) + (b))
#define nd_sub(a, b) ((a) - (b))
#define nd_mul(a, b) ((a) * (b))
#define nd_div(a, b) ((a) / (b))
#define nd_max(a, b) ((a) > (b) ? (a) : (b))
#define nd_where_lt(a, b, x, y) ((a) < (b) ? (x) : (y))
VEC_INLINE nd nd_shift_in(nd a) {
  uint64_t bits;
  memcpy(&bits, &a, sizeof bits);
  bits = (bits << 52) + (uint64_t)ND_ONE;
  memcpy(&a, &bits, sizeof bits);
  return a;
}
#define nd_fma(a, b, c) ((a) * (b) + (c))
#endif

#ifndef nd_scale
/* The last bits of n + 1.5 * 2^52 are those of n, and become the exponent. */
#define nd_scale(a, n) nd_mul(a, nd_shift_in(nd_add(n, nd_set1(6755399441055744.0))))
#endif
#define ND_LANES (8 / VEC_PARTS)
#define VEC_REGISTERS (ND_REGISTERS / VEC_PARTS) /* how many vec the processor holds */

typedef struct {
  nd p[VEC_PARTS];
} vec;

#define VEC_MAP(expression)                                                                        \
  vec r;                                                                                           \
  for (int i = 0; i < VEC_PARTS; i++)                                                              \
    r.p[i] = (expression);                                                                         \
  return r

VEC_INLINE vec vec_load(const double *a) { VEC_MAP(nd_load(a + i * ND_LANES)); }
VEC_INLINE vec vec_set1(double a) { VEC_MAP(nd_set1(a)); }
VEC_INLINE vec vec_zero(void) { VEC_MAP(nd_set1(0.0)); }
VEC_INLINE vec vec_add(vec a, vec b) { VEC_MAP(nd_add(a.p[i], b.p[i])); }
VEC_INLINE vec vec_sub(vec a, vec b) { VEC_MAP(nd_sub(a.p[i], b.p[i])); }
VEC_INLINE vec vec_mul(vec a, vec b) { VEC_MAP(nd_mul(a.p[i], b.p[i])); }
VEC_INLINE vec vec_div(vec a, vec b) { VEC_MAP(nd_div(a.p[i], b.p[i])); }
/* the larger of both; b where either is not a number */
VEC_INLINE vec vec_max(vec a, vec b) { VEC_MAP(nd_max(a.p[i], b.p[i])); }
/* a < b ? x : y, and y where unordered */
VEC_INLINE vec vec_where_lt(vec a, vec b, vec x, vec y) {
  VEC_MAP(nd_where_lt(a.p[i], b.p[i], x.p[i], y.p[i]));
}
/* a times 2 to the power of n, for whole n in -1022..1023 and a result of which no bit is lost */
VEC_INLINE vec vec_scale(vec a, vec n) { VEC_MAP(nd_scale(a.p[i], n.p[i])); }
/* a * b + c, rounded once where the machine can */
VEC_INLINE vec vec_fma(vec a, vec b, vec c) { VEC_MAP(nd_fma(a.p[i], b.p[i], c.p[i])); }
VEC_INLINE void vec_store(double *to, vec a) {
  for (int i = 0; i < VEC_PARTS; i++)
    nd_store(to + i * ND_LANES, a.p[i]);
}

#if VEC_PARTS == 8
VEC_INLINE void nd_transpose(nd *row) { (void)row; }
#else
/* A square of as many rows as a register has lanes: pairs of lanes, then the order of the pairs. */
VEC_INLINE void nd_transpose(nd *row) {
  for (int i = 0; i < ND_LANES; i += 2) {
    nd low = nd_low(row[i], row[i + 1]), high = nd_high(row[i], row[i + 1]);
    row[i] = low;
    row[i + 1] = high;
  }
#if VEC_PARTS == 2
  for (int i = 0; i < 2; i++) {
    nd top = row[i], bottom = row[i + 2];
    row[i] = _mm256_permute2f128_pd(top, bottom, 0x20);
    row[i + 2] = _mm256_permute2f128_pd(top, bottom, 0x31);
  }
#elif VEC_PARTS == 1
  for (int i = 0; i < 2; i++) {
    nd even_a = _mm512_shuffle_f64x2(row[i], row[i + 2], 0x88),
       odd_a = _mm512_shuffle_f64x2(row[i], row[i + 2], 0xdd);
    nd even_b = _mm512_shuffle_f64x2(row[i + 4], row[i + 6], 0x88),
       odd_b = _mm512_shuffle_f64x2(row[i + 4], row[i + 6], 0xdd);
    row[i] = _mm512_shuffle_f64x2(even_a, even_b, 0x88);
    row[i + 2] = _mm512_shuffle_f64x2(odd_a, odd_b, 0x88);
    row[i + 4] = _mm512_shuffle_f64x2(even_a, even_b, 0xdd);
    row[i + 6] = _mm512_shuffle_f64x2(odd_a, odd_b, 0xdd);
  }
#endif
}
#endif

/* The 8 x 8 square of 8 rows: lane j of row i changes places with lane i of row j. */
VEC_INLINE void vec_transpose(vec *row) {
  nd square[ND_LANES], mirrored[ND_LANES];
  for (int i = 0; i < VEC_PARTS; i++)
    for (int j = i; j < VEC_PARTS; j++) {
      for (int k = 0; k < ND_LANES; k++) {
        square[k] = row[i * ND_LANES + k].p[j];
        mirrored[k] = row[j * ND_LANES + k].p[i];
      }
      nd_transpose(square);
      nd_transpose(mirrored); /* the same square on the diagonal: the compiler sees it */
      for (int k = 0; k < ND_LANES; k++) {
        row[j * ND_LANES + k].p[i] = square[k];
        row[i * ND_LANES + k].p[j] = mirrored[k];
      }
    }
}

/* square[i], lane j = rows[j][at + i] */
VEC_INLINE void vec_load_transposed(vec *square, const double **rows, ptrdiff_t at) {
  for (int i = 0; i < 8; i++)
    square[i] = vec_load(rows[i] + at);
  vec_transpose(square);
}

/* The sum of the 8 lanes, always as the same tree: halves of 4, of 2, then the last pair; and the
 * largest of them. */
#define VEC_REDUCE(expression)                                                                     \
  double lane[8];                                                                                  \
  vec_store(lane, a);                                                                              \
  for (int half = 4; half > 0; half /= 2)                                                          \
    for (int i = 0; i < half; i++)                                                                 \
      lane[i] = (expression);                                                                      \
  return lane[0]
#if VEC_PARTS == 1
VEC_INLINE double vec_reduce(vec a) {
  __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(a.p[0]), _mm512_extractf64x4_pd(a.p[0], 1));
  __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
#else
VEC_INLINE double vec_reduce(vec a) { VEC_REDUCE(lane[i] + lane[i + half]); }
#endif
VEC_INLINE double vec_reduce_max(vec a) {
  VEC_REDUCE(lane[i] > lane[i + half] ? lane[i] : lane[i + half]);
}

/* The numbers of the lanes. */
static const double VEC_NUMBERS[8] = {0, 1, 2, 3, 4, 5, 6, 7};

#endif
