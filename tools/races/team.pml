/* The protocol of src/lenet5c/kernels/engine/team.pxi: threads that take batches of shards and slices without waiting for
 * one another, and versions of the parameters that nobody writes while another one reads.
 *
 * Each statement, and each d_step, is one step that others cannot interrupt: an access to one shared word, or one end of
 * an access to memory that takes long (a shard being computed, a slice being written). Between any two steps a thread
 * may sleep for as long as all others take. A word that is read and then swapped if it is unchanged is one step: whoever
 * fails there begins anew.
 *
 * Checked, as assertions: a slice sums each shard's record once, complete, of this batch of shards and of the parameters
 * of this batch; no slice is done before; each slice is done once in each batch; nobody writes a buffer that is read, or
 * reads one that is written; one buffer for each thread is enough; the last buffer has the last version. By the search
 * itself: there is no deadlock, and no endless loop. With -DSTOP, all threads but one may stop for ever, anywhere but
 * where they hold a slice or open the next batch, and those left reach the end all the same.
 *
 * Left out: losses that are not finite (a step that moves nothing is a batch that does not end a step), and time: a thread
 * may lose its patience at once. */
#ifndef THREADS
#define THREADS 2
#define SHARDS 2
#define SLICES 2
#define BATCHES 3
#define BATCHES_PER_STEP 1
#endif
#define BUFFERS THREADS
#define NOTHING 255
#define VERSION(n) ((n) / BATCHES_PER_STEP)
#define ENDS(n) ((n) % BATCHES_PER_STEP == BATCHES_PER_STEP - 1)
#define IS_OPEN(shard) (slot_number[shard] == n && !closed[shard])
#define RESULT(n, shard) ((n) * SHARDS + (shard) + 1)

/* The shared words. */
byte number, buffer, drawn;                                       /* next shard */
byte slot_number[SHARDS], slot_record[SHARDS]; bool closed[SHARDS]; /* slot of shard */
byte claim[SLICES];                                               /* one more than in the code, from 0 on */
byte slices_done;
byte update_number, update_buffer;                                /* likewise from 0 on */
byte reading[THREADS];

/* Memory, and who is at it. */
byte record[SHARDS + THREADS];                                    /* RESULT, or 0 while it is written */
byte version[BUFFERS * SLICES];
byte readers[BUFFERS], writers[BUFFERS];
byte summed[SLICES];
byte asleep_for_ever;

/* A thread takes the slot's record in exchange for its own. As no two have the same, the records may as well change their
 * names: far fewer states. */
#if THREADS == 2
#define EXCHANGE k = slot_record[shard]; slot_record[shard] = mine; mine = k; k = 0
#else
#define EXCHANGE record[slot_record[shard]] = record[mine]; record[mine] = 0
#endif

#ifdef STOP
#define MAY_STOP if :: d_step { asleep_for_ever < THREADS - 1 -> asleep_for_ever++ } -> goto asleep :: skip fi
#else
#define MAY_STOP skip
#endif

inline check_version(which, n, k) {
  k = 0;
  do
  :: k < SLICES -> assert(version[which * SLICES + k] == VERSION(n)); k++
  :: else -> break
  od;
  k = 0
}

/* compute_slice: begin and end of it */
inline check_records(k) {
  k = 0;
  do
  :: k < SHARDS ->
     assert(slot_number[k] == n && closed[k] && record[slot_record[k]] == RESULT(n, k)); k++
  :: else -> break
  od;
  k = 0
}

proctype thread(byte me) {
  byte n, b;                /* the batch of shards, and its buffer of parameters */
  byte mine = SHARDS + me;  /* the record */
  byte shard, i, k, target, busy;
  bool wanted, looked, waits;

again: /* work_in_team */
  MAY_STOP;
  d_step { /* with the first draw: between the two, nobody could see a difference */
    n = number; b = buffer;
    waits = drawn == SHARDS;
    if :: n < BATCHES && !waits -> shard = drawn; drawn++ :: else -> shard = 0 fi
  };
  if
  :: n >= BATCHES -> goto over
  :: n < BATCHES && waits -> goto look
  :: n < BATCHES && !waits -> goto compute
  fi;

draw: /* draw_shard */
  MAY_STOP;
  d_step {
    waits = !(number == n && drawn < SHARDS);
    if :: waits -> shard = 0 :: else -> shard = drawn; drawn++ fi
  };
  if :: waits -> goto look :: else fi;

compute: /* compute_shard */
  MAY_STOP;
  reading[me] = b;
  MAY_STOP;
  d_step { /* looks, and begins at once if it may: the harder for those who write */
    wanted = IS_OPEN(shard);
    if
    :: wanted -> assert(!writers[b]); readers[b]++; record[mine] = 0; check_version(b, n, k)
    :: else
    fi
  };
  MAY_STOP; /* in the middle of the shard */
  if
  :: wanted ->
     d_step {
       check_version(b, n, k); readers[b]--; record[mine] = RESULT(n, shard); reading[me] = NOTHING
     }
  :: else -> reading[me] = NOTHING
  fi;
  MAY_STOP;
  if
  :: wanted ->
     d_step {
       if
       :: IS_OPEN(shard) ->
          closed[shard] = true;
          EXCHANGE
       :: else -> record[mine] = 0 /* nobody's: one state for all of these */
       fi;
       wanted = false
     }
  :: else
  fi;
  shard = 0;
  if :: !waits -> goto draw :: else fi;

look: /* the second loop of compute_shards, with open_shard: as no slot is opened again for this batch, it does not matter
       * that they are looked at one by one */
  if
  :: !IS_OPEN(0) && !IS_OPEN(SHARDS / 2) && !IS_OPEN(SHARDS - 1) -> goto slices
  :: IS_OPEN(0) -> shard = 0 /* out of patience */
  :: IS_OPEN(SHARDS / 2) -> shard = SHARDS / 2
  :: IS_OPEN(SHARDS - 1) -> shard = SHARDS - 1
  fi;
  goto compute;

slices: /* compute_slices: all of them, from the own one on; k counts */
  MAY_STOP;
  d_step { shard = 0; waits = false; target = b; i = me % SLICES };
  do
  :: k == SLICES -> break
  :: k < SLICES ->
     d_step { wanted = claim[i] == n; if :: wanted -> claim[i] = n + 1 :: else fi }; /* draw_slice */
     if
     :: wanted ->
        wanted = false;
        if
        :: !looked && ENDS(n) -> /* choose_buffer */
           if
           :: update_number != n + 1 ->
              d_step { busy = 0; shard = 0 };
              do /* unread_buffer */
              :: d_step {
                   shard < THREADS ->
                   if :: reading[shard] != NOTHING -> busy = busy | (1 << reading[shard]) :: else fi;
                   shard++
                 }
              :: shard == THREADS -> break
              od;
              shard = 0;
              d_step {
                do
                :: shard < BUFFERS && ((busy >> target) & 1) -> target = (target + 1) % BUFFERS; shard++
                :: else -> break
                od;
                assert(!((busy >> target) & 1));
                shard = 0; busy = 0
              };
              d_step { if :: update_number != n + 1 -> update_number = n + 1; update_buffer = target :: else fi }
           :: else
           fi;
           target = update_buffer
        :: else
        fi;
        d_step {
          looked = true;
          check_records(shard);
          assert(summed[i] == n);
          if :: ENDS(n) -> assert(!readers[target]); writers[target]++ :: else fi
        };
        d_step {
          check_records(shard);
          summed[i]++;
          if
          :: ENDS(n) ->
             assert(!readers[target] && version[b * SLICES + i] == VERSION(n));
             version[target * SLICES + i] = VERSION(n) + 1; writers[target]--
          :: else
          fi
        };
        d_step { slices_done++; wanted = slices_done == SLICES };
        if
        :: wanted -> /* finish_shard_batch, begin_shard_batch */
           d_step {
             do
             :: shard < SHARDS ->
                slot_number[shard] = n + 1; closed[shard] = false; record[slot_record[shard]] = 0;
                shard++
             :: else -> break
             od;
             slices_done = 0; shard = 0
           };
           d_step {
             number = n + 1; buffer = target; drawn = 0; wanted = false;
             update_number = 0; update_buffer = 0 /* of no more use: fewer states */
           };
           break
        :: else
        fi
     :: else
     fi;
     d_step { i = (i + 1) % SLICES; k++ }
  od;
  MAY_STOP;
  d_step { i = 0; k = 0; b = 0; looked = false; target = 0 };
  d_step { number != n -> n = 0; waits = false };
  goto again;

asleep:
end_asleep:
  false;

over:
  skip;
  d_step { check_version(buffer, BATCHES, k) }
}

init {
  byte at = 0;
  d_step {
    do :: at < SHARDS -> slot_record[at] = at; at++ :: else -> break od;
    at = 0;
    do :: at < THREADS -> reading[at] = NOTHING; at++ :: else -> break od;
    at = 0
  };
  atomic { do :: at < THREADS -> run thread(at); at++ :: else -> break od }
}
