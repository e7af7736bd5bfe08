/* A program for an emulated Cortex-M without an operating system: it reads inputs from the file "in", computes their
 * scores, and writes to "out", for each, the class, the scores, the instructions and the bytes of stack that
 * it took. Files are the host's, by semihosting. */
#include <stddef.h>
#include <stdint.h>
#define MODEL_DECLARATIONS_ONLY
#include "model.c"

#define PAINT 0xA5C3A5C3u
#define PAINTED 1000 /* words */

extern uint32_t stack_top, data_start, data_end, data_source, bss_start, bss_end;
int main(void);

static intptr_t host(intptr_t operation, const void *argument)
{
    register intptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void stop(int good)
{
    host(0x18, (void *)(good ? 0x20026u : 0x20023u));
    for (;;) {}
}

static void fault(void) { stop(0); }

static void reset(void)
{
    uint32_t *from = &data_source, *to;
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* the floating-point unit */
    __asm__ volatile("dsb\n isb");
#endif
    for (to = &data_start; to < &data_end;) *to++ = *from++;
    for (to = &bss_start; to < &bss_end;) *to++ = 0;
    stop(main());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    &stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
};

#ifdef NRF51
/* A timer of 16 MHz; an instruction takes a nanosecond. */
#define TIMER(offset) (*(volatile uint32_t *)(0x40008000u + (offset)))
#define PER_TICK 62.5
static void start_timer(void)
{
    TIMER(0x504) = 0;
    TIMER(0x508) = 3;
    TIMER(0x510) = 0;
    TIMER(0x00C) = 1;
    TIMER(0x000) = 1;
}
static uint32_t ticks(void)
{
    TIMER(0x040) = 1;
    return TIMER(0x540);
}
#else
/* A timer of 25 MHz that counts down. */
#define TIMER(offset) (*(volatile uint32_t *)(0x40000000u + (offset)))
static void start_timer(void)
{
    TIMER(0x8) = 0xFFFFFFFFu;
    TIMER(0x4) = 0xFFFFFFFFu;
    TIMER(0x0) = 1;
}
static uint32_t ticks(void) { return 0xFFFFFFFFu - TIMER(0x4); }
#endif

static intptr_t open_file(const char *name, intptr_t length, intptr_t mode)
{
    const intptr_t arguments[3] = {(intptr_t)name, mode, length};
    return host(0x01, arguments);
}

/* The bytes that predict takes below this frame. */
static __attribute__((noinline)) uint32_t depth_of(const INPUT *in, SCORE *scores)
{
    uint32_t *here, *low;
    __asm__ volatile("mov %0, sp" : "=r"(here));
    for (low = here - PAINTED; low < here; low++) *(volatile uint32_t *)low = PAINT;
    PREDICT(in, scores);
    for (low = here - PAINTED; low < here && *(volatile uint32_t *)low == PAINT;) low++;
    return (uint32_t)((here - low) * 4);
}

int main(void)
{
    static INPUT in[COUNT];
    static struct { int32_t best; SCORE scores[MODEL_CLASSES]; uint32_t ticks, stack; } out;
    const intptr_t from = open_file("in", 2, 1), to = open_file("out", 3, 5);
    const intptr_t read[3] = {from, (intptr_t)in, sizeof in}, write[3] = {to, (intptr_t)&out, sizeof out};
    if (from < 0 || to < 0) return 0;
    start_timer();
    while (host(0x06, read) == 0) {
        const uint32_t before = ticks();
        out.best = PREDICT(in, out.scores);
        out.ticks = ticks() - before;
        out.stack = depth_of(in, out.scores);
        if (host(0x05, write) != 0) return 0;
    }
    host(0x02, &to);
    return 1;
}
