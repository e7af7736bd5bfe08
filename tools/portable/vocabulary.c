/* The headers that tell platforms apart, without Python: each function of theirs is called once, as what is never called is
 * never compiled either. */
#include "atomic.h"
#include "cpu.h"
#include "doubles.h"
#include "simd.h"
