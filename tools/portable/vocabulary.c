/* The headers that tell platforms apart. Each of their functions is called: what is never called is never compiled. */
#include <Python.h>

#include "atomic.h"
#include "cpu.h"
#include "doubles.h"
#include "openmp.h"
#include "simd.h"

#if defined(EXPECT_NEON) && !defined(LENET5C_NEON)
#error "this target has NEON, and is given plain code"
#endif

float use_floats(float *to, const unsigned char *bytes, uint32_t *words, int32_t *numbers) {
  v16 row[16], a = v16_load(to), b = v16_set1(to[0]), c = v16_load_bytes(bytes);
  for (int i = 0; i < 16; i++)
    row[i] = v16_add(a, v16_set1((float)i));
  v16_transpose(row);
  a = v16_fma(a, b, v16_sub(v16_mul(b, c), v16_div(row[3], v16_max(a, v16_zero()))));
  b = v16_where_lt(a, b, v16_where_le(a, c, a, b), v16_where_eq(b, c, b, c));
  c = v16_scale(b, v16_load(V16_NUMBERS));
  v16_gather(words, words + 16, numbers);
  v16_store(to, v16_add(v16_load_byte_of(words, 8), c));
  v16_store_whole(numbers, a);
  nv_keep(a.p[0]);
  nv_reread();
  return v16_reduce(a) + v16_reduce_max(b);
}

double use_doubles(double *to) {
  vec row[8], a = vec_load(to), b = vec_set1(to[0]);
  for (int i = 0; i < 8; i++)
    row[i] = vec_add(a, vec_set1((double)i));
  vec_transpose(row);
  a = vec_fma(a, b, vec_sub(vec_mul(b, row[1]), vec_div(row[3], vec_max(a, vec_zero()))));
  b = vec_where_lt(a, b, a, vec_scale(b, vec_load(VEC_NUMBERS)));
  vec_store(to, b);
  return vec_reduce(a) + vec_reduce_max(b);
}

int64_t use_threads(int64_t *shared) {
  atomic_set(shared, atomic_add(shared, 1));
  while (!atomic_swap_if(shared, atomic_get(shared), 3)) {
    cpu_pause();
    thread_yield();
  }
  return lenet5c_cpu_has_avx2() + lenet5c_cpu_has_avx512() + lenet5c_max_threads() +
         lenet5c_processors() + lenet5c_end_pool() + (lenet5c_openmp_library() != NULL) +
         (clock_seconds() > 0.0);
}
