/* The body of every file in this folder: all kernels, compiled with that file's flags, in one exported table.
 * Everything else is static, so that the linker can never hand one ISA's copy of a function to another's caller. */
#include "../kernels/kernels.h"
#include "../simd/simd.h"
#include "../simd/math.h"
#include "../kernels/activation.h"
#include "../kernels/optimizer.h"
#include "../kernels/penalty.h"
#include "../gemm/gemm.h"
#include "../kernels/bias.h"
#include "../kernels/softmax.h"
#include "../kernels/loss.h"
#include "../kernels/norm.h"
#include "../kernels/batchnorm.h"
#include "../kernels/rownorm.h"
#include "../kernels/random.h"
#include "../kernels/noise.h"
#include "../kernels/pieces.h"
#include "../kernels/convert.h"
#include "../kernels/measure.h"

extern const fnn_kernels FNN_TABLE;

const fnn_kernels FNN_TABLE = {
    .isa = FNN_TABLE_NAME,
#define FNN_UPDATE(code, name, states) .update_f32[code] = fnn_##name##_f32, .update_f64[code] = fnn_##name##_f64,
#include "../defs/kernels.def"
#undef FNN_UPDATE
#define FNN_KERNEL(name, result, arguments) .name = fnn_##name,
#include "../defs/kernels.def"
#undef FNN_KERNEL
};
