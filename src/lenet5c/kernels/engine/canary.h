/* In a debug build, made with LENET5C_CANARIES=1, so many floats lie behind each op's scratch, each
 * arena and each record, and are looked at after each op: see canary.pxi. */
#ifdef LENET5C_CANARIES
#define CANARY_FLOATS 16
#else
#define CANARY_FLOATS 0
#endif
