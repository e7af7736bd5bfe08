/* Included before all else, this makes clang for Windows (GNU) look like Microsoft's compiler to the sources that follow: they
 * take their branches for _MSC_VER, and GNU C's attributes and assembler are errors. What those branches need comes from
 * headers that are included here, while clang still says what it is. */
#include <Python.h>

#include <float.h>
#include <intrin.h>
#include <limits.h>
#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>
#include <windows.h>

#if defined(__aarch64__)
#include <arm_neon.h>
void __yield(void);
#define _M_ARM64 1
#else
#include <immintrin.h>
void __cpuidex(int *, int, int);
#define _M_X64 100
#define _M_AMD64 100
#endif

#undef __aarch64__
#undef __ARM_NEON
#undef __clang__
#undef __clang_major__
#undef __FMA__
#undef __GNUC__
#undef __GNUC_MINOR__
#undef __MINGW32__
#undef __MINGW64__
#undef __SSE2__
#undef __x86_64__
#undef __forceinline /* -fms-extensions has the word itself */
#define _MSC_VER 1944
#define _MSC_FULL_VER 194435207
#define __INTRIN_H /* clang's own header of this name is for its build by Microsoft's */
#define CYTHON_FALLTHROUGH
#undef _Py_NO_RETURN
#define _Py_NO_RETURN __declspec(noreturn)
#undef CYTHON_INLINE
#define CYTHON_INLINE __forceinline
#define __asm__ gnu_assembler_in_code_for_msvc
#define __attribute__ gnu_attribute_in_code_for_msvc
