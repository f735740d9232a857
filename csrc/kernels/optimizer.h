/* The optimizers' update kernels in float32 and float64: optimizer_rules.h, compiled for each.
 * What a new rule needs in C: its body there, its line in defs/kernels.def and its scalars in ops/optimizer.c. */
#ifndef FNN_KERNELS_OPTIMIZER_H
#define FNN_KERNELS_OPTIMIZER_H

#include "../simd/simd.h"
#include "kernels.h"
#include "norm.h"

#define FNN_REAL float
#define FNN_LANES FNN_VF
#define FNN_WIDEN(p) vd_load_f32(p)
#define V(name) vf##name
#define FNN_NAME(name) name##_f32
#include "optimizer_rules.h"
#undef FNN_REAL
#undef FNN_LANES
#undef FNN_WIDEN
#undef V
#undef FNN_NAME

#define FNN_REAL double
#define FNN_LANES FNN_VD
#define FNN_WIDEN(p) vd_load(p)
#define V(name) vd##name
#define FNN_NAME(name) name##_f64
#include "optimizer_rules.h"
#undef FNN_REAL
#undef FNN_LANES
#undef FNN_WIDEN
#undef V
#undef FNN_NAME

#endif
