/* The import of a module on a processor without its instructions: an ImportError, not a crash.
 *
 * setup.py renames the module's init function to lenet5c_guarded_init and gives this file the
 * original name and the test. Only this function, built for the baseline, runs before the test. */
#include <Python.h>

#include "cpu.h"

#undef PyInit__doubles_avx2
#undef PyInit__doubles_avx512
#undef PyInit__tiles_avx2
#undef PyInit__tiles_avx512
#undef PyInit__planes_avx2
#undef PyInit__planes_avx512

PyObject *lenet5c_guarded_init(void);

LENET5C_BASELINE PyMODINIT_FUNC LENET5C_INIT(void);
LENET5C_BASELINE PyMODINIT_FUNC LENET5C_INIT(void) {
  if (!LENET5C_NEEDS()) {
    PyErr_SetString(PyExc_ImportError,
                    "this processor lacks the instructions that the module was built for");
    return NULL;
  }
  return lenet5c_guarded_init();
}
