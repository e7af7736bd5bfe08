# Canaries: floats of a known pattern behind memory that an op writes to, in a debug build. In
# any other there are none of them, and nothing of this file is left in the compiled code.
from libc.stdint cimport uint32_t

cdef extern from "canary.h" nogil:
    enum:
        CANARY_FLOATS

cdef enum:
    CANARY = 0x7fc0dead  # not-a-number, should anybody compute with it

# An op found to have written too far, and behind what; plain words, as any thread may set them.
cdef const char* overrun_op = NULL
cdef const char* overrun_memory = NULL


cdef inline void set_canary(float* end) noexcept nogil:
    cdef int i
    for i in range(CANARY_FLOATS):
        (<uint32_t*>end)[i] = <uint32_t>CANARY


cdef inline void check_canary(const float* end, const char* op, const char* memory) noexcept nogil:
    global overrun_op, overrun_memory
    cdef int i
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
