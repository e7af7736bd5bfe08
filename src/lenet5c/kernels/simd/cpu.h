/* Instruction sets supported by the processor and the operating system. */
#ifndef LENET5C_CPU_H
#define LENET5C_CPU_H

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
/* The attribute keeps these functions runnable on any x86-64, independent of the flags of the
 * file. */
#define LENET5C_BASELINE __attribute__((target("arch=x86-64")))
LENET5C_BASELINE static int lenet5c_cpu_has_avx2(void) {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
LENET5C_BASELINE static int lenet5c_cpu_has_avx512(void) {
  return lenet5c_cpu_has_avx2() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
}

#elif defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
#define LENET5C_BASELINE
/* Bits of CPUID leaf 1 ECX: 12 FMA, 27 OSXSAVE; leaf 7 EBX: 5 AVX2, 16 F, 17 DQ, 28 CD, 30 BW, 31
 * VL; XCR0: the register state that the operating system saves. */
static int lenet5c_cpu_has(unsigned leaf7, unsigned long long saved) {
  int one[4], seven[4];
  __cpuid(one, 0);
  if (one[0] < 7)
    return 0;
  __cpuid(one, 1);
  __cpuidex(seven, 7, 0);
  if (!(one[2] & (1 << 12)) || !(one[2] & (1 << 27)) || (_xgetbv(0) & saved) != saved)
    return 0;
  return ((unsigned)seven[1] & leaf7) == leaf7;
}
static int lenet5c_cpu_has_avx2(void) { return lenet5c_cpu_has(1u << 5, 0x6); }
static int lenet5c_cpu_has_avx512(void) {
  return lenet5c_cpu_has(1u << 5 | 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31, 0xe6);
}

#else
#define LENET5C_BASELINE
static int lenet5c_cpu_has_avx2(void) { return 0; }
static int lenet5c_cpu_has_avx512(void) { return 0; }
#endif

#endif
