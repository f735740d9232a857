# The one extension module: checks arrays, unwraps them, and calls the C API without the GIL.
#
# Nothing is computed here and no policy is decided here: defaults, names and documentation are in the Python layer.
# Every function checks all of its arguments before it changes anything.

cimport cython
from libc.math cimport NAN, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cimport numpy as cnp

import math
import warnings

import numpy as np

cnp.import_array()


# The parts, in the order in which they build on each other.
include "_cython/memory.pxi"
include "_cython/arrays.pxi"
include "_cython/runtime.pxi"
include "_cython/eager.pxi"
include "_cython/sources.pxi"
include "_cython/augment.pxi"
include "_cython/random.pxi"
include "_cython/lock.pxi"
include "_cython/optimizer_state.pxi"
include "_cython/update.pxi"
include "_cython/vectors.pxi"
include "_cython/plan.pxi"
include "_cython/measure.pxi"
