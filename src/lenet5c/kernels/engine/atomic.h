/* Lock-free communication between threads: 64-bit atomics, a pause while
 * spinning, a yield. All of them are sequentially consistent: a thread that announces what it is
 * about to read, and then checks that it still may, relies on this order. */
#ifndef LENET5C_ATOMIC_H
#define LENET5C_ATOMIC_H

#include <stdint.h>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
/* Interlocked operations are full barriers. */
static __forceinline int64_t atomic_get(int64_t *a) {
  return _InterlockedCompareExchange64((volatile __int64 *)a, 0, 0);
}
static __forceinline void atomic_set(int64_t *a, int64_t to) {
  _InterlockedExchange64((volatile __int64 *)a, to);
}
static __forceinline int64_t atomic_add(int64_t *a, int64_t b) {
  return _InterlockedExchangeAdd64((volatile __int64 *)a, b) + b;
}
static __forceinline int atomic_swap_if(int64_t *a, int64_t from, int64_t to) {
  return _InterlockedCompareExchange64((volatile __int64 *)a, to, from) == from;
}
#else
static inline int64_t atomic_get(int64_t *a) { return __atomic_load_n(a, __ATOMIC_SEQ_CST); }
static inline void atomic_set(int64_t *a, int64_t to) { __atomic_store_n(a, to, __ATOMIC_SEQ_CST); }
/* The sum. */
static inline int64_t atomic_add(int64_t *a, int64_t b) {
  return __atomic_add_fetch(a, b, __ATOMIC_SEQ_CST);
}
/* Set a to `to` if it is `from`, and return whether it was. */
static inline int atomic_swap_if(int64_t *a, int64_t from, int64_t to) {
  return __atomic_compare_exchange_n(a, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#define cpu_pause() _mm_pause()
#elif defined(__aarch64__) && defined(__GNUC__)
#define cpu_pause() __asm__ volatile("yield")
#elif defined(_M_ARM64)
#define cpu_pause() __yield()
#else
#define cpu_pause() ((void)0)
#endif

#if defined(_WIN32)
__declspec(dllimport) int __stdcall SwitchToThread(void);
#define thread_yield() ((void)SwitchToThread())
#else
#include <sched.h>
#define thread_yield() ((void)sched_yield())
#endif

#ifdef _OPENMP
#include <omp.h>
#define clock_seconds() omp_get_wtime()
#else
#define clock_seconds() 0.0 /* only used by threads that wait for others */
#endif

#endif
