/* The OpenMP functions used by the Python side, with fallbacks without OpenMP. Include after
 * Python.h. */
#ifndef LENET5C_OPENMP_H
#define LENET5C_OPENMP_H

#ifdef _OPENMP
#include <omp.h>
#define LENET5C_OPENMP _OPENMP
#define lenet5c_max_threads() omp_get_max_threads()
#define lenet5c_processors() omp_get_num_procs()
#else
#define LENET5C_OPENMP 0
#define lenet5c_max_threads() 1
#define lenet5c_processors() 1
#endif

/* The file of the OpenMP library, NULL if unknown. */
#if defined(_OPENMP) && !defined(_WIN32)
#include <dlfcn.h>
static const char *lenet5c_openmp_library(void) {
  Dl_info found;
  return dladdr((void *)omp_get_max_threads, &found) ? found.dli_fname : NULL;
}
#else
static const char *lenet5c_openmp_library(void) { return NULL; }
#endif

/* End the pool of the calling thread, and that one only; 0 if it could not be ended. GNU OpenMP
 * alone: a child forked with a pool would wait forever for threads that the fork did not copy, and
 * the runtime of gcc 8 cannot end one. */
#if defined(_OPENMP) && defined(__GNUC__) && __GNUC__ >= 9 && !defined(__clang__)
#pragma weak omp_pause_resource_all
static int lenet5c_end_pool(void) {
  return omp_pause_resource_all != NULL && omp_pause_resource_all(omp_pause_soft) == 0;
}
#else
static int lenet5c_end_pool(void) { return 0; }
#endif

#endif
