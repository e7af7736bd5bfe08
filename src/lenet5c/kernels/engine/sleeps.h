/* In a debug build, made with LENET5C_SLEEPS=1, a thread of a team sleeps where and when a table says so, which the
 * tests fill in: at the point of this name, in the batch of shards of this number, until the team is `batches`
 * further or `microseconds` are over. Thread -1 is the first one that comes there. In any other build there is nothing of it. */
#ifndef LENET5C_SLEEPS_H
#define LENET5C_SLEEPS_H

#ifdef LENET5C_SLEEPS
#include <stdint.h>
#include <string.h>
#include <time.h>

struct lenet5c_sleep {
  char point[24];
  int64_t thread, number, batches, microseconds;
  int64_t state; /* set by the thread: 1 asleep, 2 awake, 3 awake as the team went on without it */
};
__attribute__((visibility("default"))) struct lenet5c_sleep lenet5c_sleeps[256];

/* All is relaxed here: a sleeper that acquired anything would hide its races from ThreadSanitizer.
 * Of a thread of a team; outside of one, next_shard is NULL. */
static _Thread_local struct {
  int thread;
  int64_t number;
  int64_t *next_shard;
  int shift; /* of the number of the batch of shards in that */
} lenet5c_sleeper;

static void sleep_as(int thread, int64_t number, int64_t *next_shard, int shift) {
  lenet5c_sleeper.thread = thread;
  lenet5c_sleeper.number = number;
  lenet5c_sleeper.next_shard = next_shard;
  lenet5c_sleeper.shift = shift;
}

static void sleep_at(const char *point) {
  const struct timespec tick = {0, 20000};
  struct timespec now, end;
  if (!lenet5c_sleeper.next_shard) return;
  for (struct lenet5c_sleep *s = lenet5c_sleeps; s->point[0]; s++) {
    int64_t state = 0;
    if ((s->thread != lenet5c_sleeper.thread && s->thread != -1) ||
        s->number != lenet5c_sleeper.number || strcmp(s->point, point) ||
        !__atomic_compare_exchange_n(&s->state, &state, 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
      continue;
    state = 2;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += s->microseconds / 1000000;
    end.tv_nsec += s->microseconds % 1000000 * 1000;
    do {
      nanosleep(&tick, NULL);
      clock_gettime(CLOCK_MONOTONIC, &now);
      if (__atomic_load_n(lenet5c_sleeper.next_shard, __ATOMIC_RELAXED) >> lenet5c_sleeper.shift >=
          s->number + s->batches)
        state = 3;
    } while (state == 2 &&
             (now.tv_sec - end.tv_sec) * 1000000000LL + now.tv_nsec - end.tv_nsec < 0);
    __atomic_store_n(&s->state, state, __ATOMIC_RELAXED);
  }
}
#else
#define sleep_as(thread, number, next_shard, shift) ((void)0)
#define sleep_at(point) ((void)(point))
#endif

#endif
