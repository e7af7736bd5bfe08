/* The protocol of src/lenet5c/kernels/engine/stages.pxi: threads that take units of a stage, shards or slices, and wait for
 * the last one before the next stage begins.
 *
 * Each statement, and each d_step, is one step that others cannot interrupt: an access to one shared word, or one end of
 * an access to memory that takes long. Between any two steps a thread may sleep for as long as all others take.
 *
 * Checked, as assertions: a unit is done once in each stage, and by nobody while another one is at its memory; it finds
 * its arena, the statistics and the parameters as the stage before has left them; who ends a stage finds all of its units
 * done, and nobody at work; the last batch may have fewer shards; after a loss that is not finite nothing moves, and all end
 * with that step. By the search itself: there is no deadlock, and no endless loop. Everybody waits for everybody here, so
 * threads do not stop for ever. */
#ifndef THREADS
#define THREADS 2
#define SHARDS 2
#define LAST_SHARDS 2
#define SLICES 2
#define CUTS 1
#define STEPS 2
#endif
#define OF_STEP (2 * CUTS + 2)
#define PART(n) ((n) % OF_STEP)
#define STEP(n) ((n) / OF_STEP)
#define HAS_SLICES(n) (PART(n) == OF_STEP - 1)
#define SHARDS_OF(n) (STEP(n) == STEPS - 1 -> LAST_SHARDS : SHARDS)
#define UNITS_OF(n) (HAS_SLICES(n) -> SLICES : SHARDS_OF(n))
#define UNITS 4 /* at most */

/* The shared words. */
byte stage, units_done, end;
byte claim[UNITS];              /* one more than in the code, from 0 on */

/* Memory, and who is at it. */
byte arena[SHARDS];             /* number of the last stage that was computed in it, and one more */
byte statistics;                /* likewise, of the stage whose partial sums were added up last */
byte version[SLICES];           /* of the parameters: updates so far */
byte times[UNITS];              /* a unit was done, in this stage */
byte at_work;
bool wrong;                     /* the loss of this step is not finite */

inline check_arenas(n, k) {
  k = 0;
  do
  :: k < SHARDS_OF(n) -> assert(arena[k] == n + 1); k++
  :: else -> break
  od;
  k = 0
}

inline check_version(n, k) {
  k = 0;
  do
  :: k < SLICES -> assert(version[k] == STEP(n)); k++
  :: else -> break
  od;
  k = 0
}

proctype thread(byte me) {
  byte n, i, j, k, seen;
  bool mine;

again: /* work_in_stages */
  n = stage;
  if
  :: n >= end -> goto over
  :: else
  fi;
  j = 0;
  do
  :: j == UNITS_OF(n) -> break
  :: j < UNITS_OF(n) ->
     d_step { i = (me * UNITS_OF(n) / THREADS + j) % UNITS_OF(n); seen = claim[i] }; /* claim_unit */
     d_step {
       mine = seen <= n && claim[i] == seen;
       if :: mine -> claim[i] = n + 1 :: else fi;
       seen = 0
     };
     if
     :: mine ->
        mine = false;
        d_step {
          at_work++;
          times[i]++;
          assert(times[i] == 1);
          assert(PART(n) == 0 || statistics == n);
          if
          :: HAS_SLICES(n) -> check_arenas(n - 1, k); assert(version[i] == STEP(n))
          :: else -> check_version(n, k); assert(PART(n) == 0 || arena[i] == n)
          fi
        };
        d_step { /* finish_slice, or run_stage_of_shard */
          if
          :: HAS_SLICES(n) -> check_arenas(n - 1, k); version[i] = STEP(n) + (wrong -> 0 : 1)
          :: else -> check_version(n, k); arena[i] = n + 1
          fi;
          at_work--
        };
        d_step { units_done++; mine = units_done == UNITS_OF(n) };
        if
        :: mine -> /* finish_stage */
           mine = false;
           d_step {
             assert(!at_work);
             do
             :: k < UNITS_OF(n) -> assert(times[k] == 1); times[k] = 0; k++
             :: else -> break
             od;
             if :: HAS_SLICES(n) :: else -> check_arenas(n, k) fi;
             statistics = n + 1;
             k = 0
           };
           if
           :: PART(n) == CUTS -> wrong = true
           :: true
           fi;
           if
           :: PART(n) == CUTS && wrong -> end = (STEP(n) + 1) * OF_STEP
           :: else
           fi;
           units_done = 0;
           stage = n + 1;
           break
        :: else
        fi
     :: else
     fi;
     j++
  od;
  skip;
  d_step { i = 0; j = 0 };
  d_step { stage != n -> n = 0 };
  goto again;

over:
  skip;
  d_step {
    assert(n == end && !at_work);
    do
    :: k < SLICES -> assert(version[k] == STEP(n) - (wrong -> 1 : 0)); k++
    :: else -> break
    od;
    k = 0
  }
}

init {
  byte at = 0;
  d_step { end = STEPS * OF_STEP };
  atomic { do :: at < THREADS -> run thread(at); at++ :: else -> break od }
}
