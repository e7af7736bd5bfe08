/* Stands in for CPython's own pyconfig.h of Windows and WebAssembly: no more of it than the limited API needs. */
#ifndef Py_PYCONFIG_H
#define Py_PYCONFIG_H
#ifdef __wasm__
#define ALIGNOF_SIZE_T 4
#define HAVE_STDDEF_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_WCHAR_H 1
#define SIZEOF_DOUBLE 8
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_SIZE_T 4
#define SIZEOF_VOID_P 4
#define SIZEOF_WCHAR_T 4
#else
#define MS_WINDOWS 1
#define MS_WIN32 1
#define MS_WIN64 1
#define NT_THREADS 1
#define WITH_THREAD 1
#define HAVE_DECLSPEC_DLL 1
#define HAVE_STDDEF_H 1
#define HAVE_STDINT_H 1
#define HAVE_WCHAR_H 1
#define ALIGNOF_SIZE_T 8
#define SIZEOF_DOUBLE 8
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_OFF_T 4
#define SIZEOF_PID_T 8
#define SIZEOF_SHORT 2
#define SIZEOF_SIZE_T 8
#define SIZEOF_TIME_T 8
#define SIZEOF_VOID_P 8
#define SIZEOF_WCHAR_T 2
#define SIZEOF__BOOL 1
#define SIZEOF_HKEY 8
typedef long long Py_ssize_t;
#define HAVE_PY_SSIZE_T 1
#define HAVE_SSIZE_T 1
#define PY_SSIZE_T_MAX LLONG_MAX
#define PY_LLONG_TYPE long long
#define PYLONG_BITS_IN_DIGIT 30
#define PY_FORMAT_SIZE_T "ll"
#endif
#endif
