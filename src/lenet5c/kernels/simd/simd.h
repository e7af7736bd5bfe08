/* The 16-lane vector vocabulary of the tile kernels.
 *
 * A v16 holds one value for each of the 16 samples of a tile. It is made of as many native
 * registers as the instruction set needs: one with AVX-512, two with AVX2, four with SSE2 and NEON,
 * plain floats elsewhere. An nv is one such register: kernels that fill the register file with
 * accumulators work on nv, one part of the lanes after the other. Every operation acts on each lane
 * by itself, except v16_reduce, whose order of additions is fixed: so a result depends on the
 * instruction set in one point only, whether an fma rounds once (AVX-512, AVX2, NEON) or twice. No
 * header state, no allocation, no branches on data. tests/same_bits.py holds the instruction sets
 * to it.
 */
#ifndef LENET5C_SIMD_H
#define LENET5C_SIMD_H

#include <stddef.h>
#include <stdint.h>

#if defined(__aarch64__) || defined(_M_ARM64)
#define LENET5C_NEON /* MSVC names neither the processor nor its vectors as the others do */
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define V16_INLINE static __forceinline
#else
#define V16_INLINE static inline __attribute__((always_inline, unused))
#endif

#if defined(__AVX512F__)
#include <immintrin.h>
#define V16_ISA "avx512"
#define V16_PARTS 1
#define NV_REGISTERS 32
typedef __m512 nv;
#define nv_load(p) _mm512_loadu_ps(p)
#define nv_store(p, a) _mm512_storeu_ps(p, a)
#define nv_set1(a) _mm512_set1_ps(a)
#define nv_add(a, b) _mm512_add_ps(a, b)
#define nv_sub(a, b) _mm512_sub_ps(a, b)
#define nv_mul(a, b) _mm512_mul_ps(a, b)
#define nv_div(a, b) _mm512_div_ps(a, b)
#define nv_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define nv_max(a, b) _mm512_max_ps(a, b)
#define nv_where_lt(a, b, x, y) _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x)
#define nv_where_le(a, b, x, y) _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LE_OQ), y, x)
#define nv_where_eq(a, b, x, y) _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ), y, x)
#define nv_scale(a, n) _mm512_scalef_ps(a, n)
#define nv_load_bytes(p)                                                                           \
  _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(p))))
#define nv_load_byte_of(p, shift)                                                                  \
  _mm512_cvtepi32_ps(_mm512_and_si512(                                                             \
      _mm512_srlv_epi32(_mm512_loadu_si512(p), _mm512_set1_epi32(shift)), _mm512_set1_epi32(255)))
#define nv_store_whole(p, a) _mm512_storeu_si512(p, _mm512_cvttps_epi32(a))
#define nv_low32(a, b) _mm512_unpacklo_ps(a, b)
#define nv_high32(a, b) _mm512_unpackhi_ps(a, b)
#define nv_low64(a, b)                                                                             \
  _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
#define nv_high64(a, b)                                                                            \
  _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))

#elif defined(__AVX2__) && (defined(__FMA__) || defined(_MSC_VER))
#include <immintrin.h>
#define V16_ISA "avx2"
#define V16_PARTS 2
#define NV_REGISTERS 16
typedef __m256 nv;
#define nv_load(p) _mm256_loadu_ps(p)
#define nv_store(p, a) _mm256_storeu_ps(p, a)
#define nv_set1(a) _mm256_set1_ps(a)
#define nv_add(a, b) _mm256_add_ps(a, b)
#define nv_sub(a, b) _mm256_sub_ps(a, b)
#define nv_mul(a, b) _mm256_mul_ps(a, b)
#define nv_div(a, b) _mm256_div_ps(a, b)
#define nv_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define nv_max(a, b) _mm256_max_ps(a, b)
#define nv_where_lt(a, b, x, y) _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ))
#define nv_where_le(a, b, x, y) _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LE_OQ))
#define nv_where_eq(a, b, x, y) _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_EQ_OQ))
#define nv_pow2(n)                                                                                 \
  _mm256_castsi256_ps(                                                                             \
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23))
#define nv_load_bytes(p)                                                                           \
  _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p))))
#define nv_load_byte_of(p, shift)                                                                  \
  _mm256_cvtepi32_ps(_mm256_and_si256(                                                             \
      _mm256_srlv_epi32(_mm256_loadu_si256((const __m256i *)(p)), _mm256_set1_epi32(shift)),       \
      _mm256_set1_epi32(255)))
#define nv_store_whole(p, a) _mm256_storeu_si256((__m256i *)(p), _mm256_cvttps_epi32(a))
#define nv_low32(a, b) _mm256_unpacklo_ps(a, b)
#define nv_high32(a, b) _mm256_unpackhi_ps(a, b)
#define nv_low64(a, b)                                                                             \
  _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)))
#define nv_high64(a, b)                                                                            \
  _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)))

#elif defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define V16_ISA "sse2"
#define V16_PARTS 4
#define NV_REGISTERS 16
typedef __m128 nv;
#define nv_load(p) _mm_loadu_ps(p)
#define nv_store(p, a) _mm_storeu_ps(p, a)
#define nv_set1(a) _mm_set1_ps(a)
#define nv_add(a, b) _mm_add_ps(a, b)
#define nv_sub(a, b) _mm_sub_ps(a, b)
#define nv_mul(a, b) _mm_mul_ps(a, b)
#define nv_div(a, b) _mm_div_ps(a, b)
#define nv_fma(a, b, c) _mm_add_ps(_mm_mul_ps(a, b), c)
#define nv_max(a, b) _mm_max_ps(a, b)
V16_INLINE nv nv_blend(nv mask, nv x, nv y) {
  return _mm_or_ps(_mm_and_ps(mask, x), _mm_andnot_ps(mask, y));
}
#define nv_where_lt(a, b, x, y) nv_blend(_mm_cmplt_ps(a, b), x, y)
#define nv_where_le(a, b, x, y) nv_blend(_mm_cmple_ps(a, b), x, y)
#define nv_where_eq(a, b, x, y) nv_blend(_mm_cmpeq_ps(a, b), x, y)
#define nv_pow2(n)                                                                                 \
  _mm_castsi128_ps(_mm_slli_epi32(_mm_add_epi32(_mm_cvtps_epi32(n), _mm_set1_epi32(127)), 23))
#define nv_load_bytes(p) _mm_cvtepi32_ps(_mm_setr_epi32((p)[0], (p)[1], (p)[2], (p)[3]))
#define nv_load_byte_of(p, shift)                                                                  \
  _mm_cvtepi32_ps(_mm_and_si128(                                                                   \
      _mm_srl_epi32(_mm_loadu_si128((const __m128i *)(p)), _mm_cvtsi32_si128(shift)),              \
      _mm_set1_epi32(255)))
#define nv_store_whole(p, a) _mm_storeu_si128((__m128i *)(p), _mm_cvttps_epi32(a))
#define nv_low32(a, b) _mm_unpacklo_ps(a, b)
#define nv_high32(a, b) _mm_unpackhi_ps(a, b)
#define nv_low64(a, b) _mm_movelh_ps(a, b)
#define nv_high64(a, b) _mm_movehl_ps(b, a)

#elif defined(LENET5C_NEON)
#include <arm_neon.h>
#define V16_ISA "neon"
#define V16_PARTS 4
#define NV_REGISTERS 32
typedef float32x4_t nv;
#define nv_load(p) vld1q_f32(p)
#define nv_store(p, a) vst1q_f32(p, a)
#define nv_set1(a) vdupq_n_f32(a)
#define nv_add(a, b) vaddq_f32(a, b)
#define nv_sub(a, b) vsubq_f32(a, b)
#define nv_mul(a, b) vmulq_f32(a, b)
#define nv_div(a, b) vdivq_f32(a, b)
#define nv_fma(a, b, c) vfmaq_f32(c, a, b)
#define nv_max(a, b)                                                                               \
  vbslq_f32(vcgtq_f32(a, b), a, b) /* the second operand where unordered, as on x86 */
#define nv_where_lt(a, b, x, y) vbslq_f32(vcltq_f32(a, b), x, y)
#define nv_where_le(a, b, x, y) vbslq_f32(vcleq_f32(a, b), x, y)
#define nv_where_eq(a, b, x, y) vbslq_f32(vceqq_f32(a, b), x, y)
#define nv_pow2(n)                                                                                 \
  vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23))
V16_INLINE nv nv_load_bytes(const unsigned char *p) {
  float lanes[4] = {p[0], p[1], p[2], p[3]};
  return vld1q_f32(lanes);
}
#define nv_load_byte_of(p, shift)                                                                  \
  vcvtq_f32_u32(vandq_u32(vshlq_u32(vld1q_u32(p), vdupq_n_s32(-(shift))), vdupq_n_u32(255)))
#define nv_store_whole(p, a) vst1q_s32(p, vcvtq_s32_f32(a))
#define nv_low32(a, b) vzip1q_f32(a, b)
#define nv_high32(a, b) vzip2q_f32(a, b)
#define nv_low64(a, b)                                                                             \
  vreinterpretq_f32_f64(vzip1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)))
#define nv_high64(a, b)                                                                            \
  vreinterpretq_f32_f64(vzip2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b)))

#else
#include <string.h>
#define V16_ISA "plain"
#define V16_PARTS 16
#define NV_REGISTERS 16
typedef float nv;
#define nv_load(p) (*(p))
#define nv_store(p, a) (*(p) = (a))
#define nv_set1(a) (a)
#define nv_add(a, b) ((a) + (b))
#define nv_sub(a, b) ((a) - (b))
#define nv_mul(a, b) ((a) * (b))
#define nv_div(a, b) ((a) / (b))
#define nv_fma(a, b, c) ((a) * (b) + (c))
#define nv_max(a, b) ((a) > (b) ? (a) : (b))
#define nv_where_lt(a, b, x, y) ((a) < (b) ? (x) : (y))
#define nv_where_le(a, b, x, y) ((a) <= (b) ? (x) : (y))
#define nv_where_eq(a, b, x, y) ((a) == (b) ? (x) : (y))
#define nv_load_bytes(p) ((float)*(p))
#define nv_load_byte_of(p, shift) ((float)(*(p) >> (shift) & 255))
#define nv_store_whole(p, a) (*(p) = (int32_t)(a))
V16_INLINE nv nv_pow2(nv n) {
  int bits = ((int)n + 127) << 23;
  nv out;
  memcpy(&out, &bits, sizeof out);
  return out;
}
#endif

#ifndef nv_scale
#define nv_scale(a, n) nv_mul(a, nv_pow2(n))
#endif
#define NV_LANES (16 / V16_PARTS)
#define V16_REGISTERS (NV_REGISTERS / V16_PARTS) /* how many v16 the processor holds */

/* Hints that leave values alone. nv_keep(a): a stays in a register, rather than being read
 * again by each instruction that takes it. nv_reread(): whatever is read next comes from memory,
 * rather than from registers that accumulators need. pointer_keep(a): a is a pointer of its own,
 * rather than the sum of another one and of an offset in memory. */
#if defined(__GNUC__) && defined(__x86_64__)
#define nv_keep(a) __asm__("" : "+v"(a))
#define nv_reread() __asm__ volatile("" ::: "memory")
#define pointer_keep(a) __asm__("" : "+r"(a))
#else
#define nv_keep(a) ((void)0)
#define pointer_keep(a) ((void)0)
#define nv_reread() ((void)0)
#endif

typedef struct {
  nv p[V16_PARTS];
} v16;

#define V16_MAP(expression)                                                                        \
  v16 r;                                                                                           \
  for (int i = 0; i < V16_PARTS; i++)                                                              \
    r.p[i] = (expression);                                                                         \
  return r

/* of its native vectors */
V16_INLINE v16 v16_of(const nv *parts) { V16_MAP(parts[i]); }
V16_INLINE v16 v16_load(const float *a) { V16_MAP(nv_load(a + i * NV_LANES)); }
V16_INLINE v16 v16_load_bytes(const unsigned char *a) { V16_MAP(nv_load_bytes(a + i * NV_LANES)); }
/* One byte of each of 16 words, from the bit `shift` on. */
V16_INLINE v16 v16_load_byte_of(const uint32_t *a, int shift) {
  V16_MAP(nv_load_byte_of(a + i * NV_LANES, shift));
}
V16_INLINE v16 v16_set1(float a) { V16_MAP(nv_set1(a)); }
V16_INLINE v16 v16_zero(void) { V16_MAP(nv_set1(0.0f)); }
V16_INLINE v16 v16_add(v16 a, v16 b) { V16_MAP(nv_add(a.p[i], b.p[i])); }
V16_INLINE v16 v16_sub(v16 a, v16 b) { V16_MAP(nv_sub(a.p[i], b.p[i])); }
V16_INLINE v16 v16_mul(v16 a, v16 b) { V16_MAP(nv_mul(a.p[i], b.p[i])); }
V16_INLINE v16 v16_div(v16 a, v16 b) { V16_MAP(nv_div(a.p[i], b.p[i])); }
/* a * b + c, rounded once where the machine can */
V16_INLINE v16 v16_fma(v16 a, v16 b, v16 c) { V16_MAP(nv_fma(a.p[i], b.p[i], c.p[i])); }
/* the larger of both; b where either is not a number */
V16_INLINE v16 v16_max(v16 a, v16 b) { V16_MAP(nv_max(a.p[i], b.p[i])); }
/* a < b ? x : y, and y where unordered */
V16_INLINE v16 v16_where_lt(v16 a, v16 b, v16 x, v16 y) {
  V16_MAP(nv_where_lt(a.p[i], b.p[i], x.p[i], y.p[i]));
}
V16_INLINE v16 v16_where_le(v16 a, v16 b, v16 x, v16 y) {
  V16_MAP(nv_where_le(a.p[i], b.p[i], x.p[i], y.p[i]));
}
V16_INLINE v16 v16_where_eq(v16 a, v16 b, v16 x, v16 y) {
  V16_MAP(nv_where_eq(a.p[i], b.p[i], x.p[i], y.p[i]));
}
/* a times 2 to the power of n, for whole n in -126..127 and a result of which no bit is lost */
V16_INLINE v16 v16_scale(v16 a, v16 n) { V16_MAP(nv_scale(a.p[i], n.p[i])); }
V16_INLINE void v16_store(float *to, v16 a) {
  for (int i = 0; i < V16_PARTS; i++)
    nv_store(to + i * NV_LANES, a.p[i]);
}

/* to[i] = from[at[i]]. AVX-512 has an instruction for it that is faster than single loads. */
V16_INLINE void v16_gather(uint32_t *to, const uint32_t *from, const int32_t *at) {
#if V16_PARTS == 1
  _mm512_storeu_si512(to, _mm512_i32gather_epi32(_mm512_loadu_si512(at), from, 4));
#else
  for (int i = 0; i < 16; i++)
    to[i] = from[at[i]];
#endif
}

/* Truncated to an integer, for a < 2^31. */
V16_INLINE void v16_store_whole(int32_t *to, v16 a) {
  for (int i = 0; i < V16_PARTS; i++)
    nv_store_whole(to + i * NV_LANES, a.p[i]);
}

#if V16_PARTS == 16
V16_INLINE void nv_transpose(nv *row) { (void)row; }
#else
/* Four rows, each cut into quads of four lanes: every 4 x 4 square of quads is transposed in its
 * place. */
V16_INLINE void nv_transpose_quads(nv *row) {
  nv low_a = nv_low32(row[0], row[1]), high_a = nv_high32(row[0], row[1]);
  nv low_b = nv_low32(row[2], row[3]), high_b = nv_high32(row[2], row[3]);
  row[0] = nv_low64(low_a, low_b);
  row[1] = nv_high64(low_a, low_b);
  row[2] = nv_low64(high_a, high_b);
  row[3] = nv_high64(high_a, high_b);
}

/* A square of as many rows as a register has lanes: the quads, then the order of the quads. */
V16_INLINE void nv_transpose(nv *row) {
  for (int i = 0; i < NV_LANES; i += 4)
    nv_transpose_quads(row + i);
#if V16_PARTS == 2
  for (int i = 0; i < 4; i++) {
    nv top = row[i], bottom = row[i + 4];
    row[i] = _mm256_permute2f128_ps(top, bottom, 0x20);
    row[i + 4] = _mm256_permute2f128_ps(top, bottom, 0x31);
  }
#elif V16_PARTS == 1
  for (int i = 0; i < 4; i++) {
    nv even_a = _mm512_shuffle_f32x4(row[i], row[i + 4], 0x88),
       odd_a = _mm512_shuffle_f32x4(row[i], row[i + 4], 0xdd);
    nv even_b = _mm512_shuffle_f32x4(row[i + 8], row[i + 12], 0x88);
    nv odd_b = _mm512_shuffle_f32x4(row[i + 8], row[i + 12], 0xdd);
    row[i] = _mm512_shuffle_f32x4(even_a, even_b, 0x88);
    row[i + 4] = _mm512_shuffle_f32x4(odd_a, odd_b, 0x88);
    row[i + 8] = _mm512_shuffle_f32x4(even_a, even_b, 0xdd);
    row[i + 12] = _mm512_shuffle_f32x4(odd_a, odd_b, 0xdd);
  }
#endif
}
#endif

/* The 16 x 16 square of 16 rows: lane j of row i changes places with lane i of row j. */
V16_INLINE void v16_transpose(v16 *row) {
  nv square[NV_LANES], mirrored[NV_LANES];
  for (int i = 0; i < V16_PARTS; i++)
    for (int j = i; j < V16_PARTS; j++) {
      for (int k = 0; k < NV_LANES; k++) {
        square[k] = row[i * NV_LANES + k].p[j];
        mirrored[k] = row[j * NV_LANES + k].p[i];
      }
      nv_transpose(square);
      nv_transpose(mirrored); /* the same square on the diagonal: the compiler sees it */
      for (int k = 0; k < NV_LANES; k++) {
        row[j * NV_LANES + k].p[i] = square[k];
        row[i * NV_LANES + k].p[j] = mirrored[k];
      }
    }
}

/* square[i], lane j = rows[j][at + i]. AVX-512 puts quarters of rows together as it loads them, which
 * leaves half of the shuffles. */
V16_INLINE void v16_load_transposed(v16 *square, const float **rows, ptrdiff_t at) {
#if V16_PARTS == 1
  for (int k = 0; k < 16; k += 4) {
    nv four[4], low[2], high[2];
    for (int j = 0; j < 4; j++) {
      four[j] = _mm512_castps128_ps512(_mm_loadu_ps(rows[j] + at + k));
      four[j] = _mm512_insertf32x4(four[j], _mm_loadu_ps(rows[4 + j] + at + k), 1);
      four[j] = _mm512_insertf32x4(four[j], _mm_loadu_ps(rows[8 + j] + at + k), 2);
      four[j] = _mm512_insertf32x4(four[j], _mm_loadu_ps(rows[12 + j] + at + k), 3);
    }
    for (int j = 0; j < 2; j++) {
      low[j] = nv_low32(four[2 * j], four[2 * j + 1]);
      high[j] = nv_high32(four[2 * j], four[2 * j + 1]);
    }
    square[k].p[0] = nv_low64(low[0], low[1]);
    square[k + 1].p[0] = nv_high64(low[0], low[1]);
    square[k + 2].p[0] = nv_low64(high[0], high[1]);
    square[k + 3].p[0] = nv_high64(high[0], high[1]);
  }
#else
  for (int i = 0; i < 16; i++)
    square[i] = v16_load(rows[i] + at);
  v16_transpose(square);
#endif
}

/* The sum of the 16 lanes, always as the same tree: halves of 8, of 4, of 2, then the last pair; and
 * the largest of them. */
#if V16_PARTS <= 4 && !defined(LENET5C_NEON)
#if V16_PARTS == 1
#define V16_FOUR(op)                                                                               \
  __m256 eight = _mm256_##op##_ps(                                                                 \
      _mm512_castps512_ps256(a.p[0]),                                                              \
      _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a.p[0]), 1)));                      \
  __m128 four = _mm_##op##_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1))
#elif V16_PARTS == 2
#define V16_FOUR(op)                                                                               \
  __m256 eight = _mm256_##op##_ps(a.p[0], a.p[1]);                                                 \
  __m128 four = _mm_##op##_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1))
#else
#define V16_FOUR(op)                                                                               \
  __m128 four = _mm_##op##_ps(_mm_##op##_ps(a.p[0], a.p[2]), _mm_##op##_ps(a.p[1], a.p[3]))
#endif
#define V16_REDUCE(op)                                                                             \
  V16_FOUR(op);                                                                                    \
  __m128 two = _mm_##op##_ps(four, _mm_movehl_ps(four, four));                                     \
  return _mm_cvtss_f32(_mm_##op##_ss(two, _mm_shuffle_ps(two, two, 1)))
V16_INLINE float v16_reduce(v16 a) { V16_REDUCE(add); }
V16_INLINE float v16_reduce_max(v16 a) { V16_REDUCE(max); }
#else
#define V16_REDUCE(expression)                                                                     \
  float lane[16];                                                                                  \
  v16_store(lane, a);                                                                              \
  for (int half = 8; half > 0; half /= 2)                                                          \
    for (int i = 0; i < half; i++)                                                                 \
      lane[i] = (expression);                                                                      \
  return lane[0]
V16_INLINE float v16_reduce(v16 a) { V16_REDUCE(lane[i] + lane[i + half]); }
V16_INLINE float v16_reduce_max(v16 a) {
  V16_REDUCE(lane[i] > lane[i + half] ? lane[i] : lane[i + half]);
}
#endif

/* The numbers of the lanes. */
static const float V16_NUMBERS[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

#endif
