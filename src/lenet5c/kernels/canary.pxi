# Canaries: floats of a known pattern after memory that an op writes to, in a debug build with
# LENET5C_CANARIES=1. With AddressSanitizer, reading them while the op runs is an error, too. Other
# builds contain no code of this file.
from libc.stdint cimport uint32_t

cdef extern from *:
    """
    #ifdef LENET5C_CANARIES
    #define CANARY_FLOATS 16
    #else
    #define CANARY_FLOATS 0
    #endif
    #ifndef __has_feature
    #define __has_feature(name) 0
    #endif
    #if defined(LENET5C_CANARIES) \
        && (defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer))
    #include <sanitizer/asan_interface.h>
    #define forbid_canary(a) __asan_poison_memory_region(a, CANARY_FLOATS * sizeof(float))
    #define allow_canary(a) __asan_unpoison_memory_region(a, CANARY_FLOATS * sizeof(float))
    #else
    #define forbid_canary(a) ((void)(a))
    #define allow_canary(a) ((void)(a))
    #endif
    """
    enum:
        CANARY_FLOATS
    void forbid_canary(const void* a) nogil
    void allow_canary(const void* a) nogil

cdef enum:
    CANARY = 0x7fc0dead  # not-a-number, to spread if it is used

# The op that wrote beyond its memory, and after what; plain words, as any thread may set them.
cdef const char* overrun_op = NULL
cdef const char* overrun_memory = NULL


cdef inline void set_canary(float* end) noexcept nogil:
    cdef int i
    for i in range(CANARY_FLOATS):
        (<uint32_t*>end)[i] = <uint32_t>CANARY
    forbid_canary(end)


cdef inline void check_canary(const float* end, const char* op, const char* memory) noexcept nogil:
    """Check a canary after the op, once for each `set_canary`."""
    global overrun_op, overrun_memory
    cdef int i
    allow_canary(end)
    for i in range(CANARY_FLOATS):
        if (<const uint32_t*>end)[i] != <uint32_t>CANARY:
            overrun_op, overrun_memory = op, memory


cdef raise_overrun():
    """Raise if an op has written beyond its memory; called after each run."""
    global overrun_op, overrun_memory
    if overrun_op is not NULL:
        op, memory = overrun_op.decode(), overrun_memory.decode()
        overrun_op = overrun_memory = NULL
        raise RuntimeError(f"op {op} wrote beyond its {memory}")


has_canaries = bool(CANARY_FLOATS)
