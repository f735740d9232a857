/* The body of every file in this folder: all kernels of one compute type, compiled with that file's flags, in one exported table.
 * Everything else is static, so that the linker can never hand one file's copy of a function to another's caller. */
#include "../simd/real.h"
#include "../kernels/activation.h"
#include "../kernels/optimizer.h"
#include "../kernels/whole.h"
#include "../kernels/penalty.h"
#include "../gemm/gemm.h"
#include "../gemm/windows.h"
#include "../gemm/depthwise.h"
#include "../kernels/bias.h"
#include "../kernels/softmax.h"
#include "../kernels/loss.h"
#include "../kernels/norm.h"
#include "../kernels/batchnorm.h"
#include "../kernels/rownorm.h"
#include "../kernels/groupnorm.h"
#include "../kernels/pbld.h"
#include "../kernels/random.h"
#include "../kernels/noise.h"
#include "../kernels/pieces.h"
#include "../kernels/pool2d.h"
#include "../kernels/stochastic_pool2d.h"
#include "../kernels/convert.h"
#include "../kernels/augment.h"
#include "../kernels/measure.h"

/* fnn_kernels_avx2_f32 and so on */
#define FNN_JOIN(isa, type) fnn_kernels_##isa##_##type
#define FNN_TABLE_OF(isa, type) FNN_JOIN(isa, type)
#define FNN_TABLE FNN_TABLE_OF(FNN_ISA_NAME, FNN_PICK(f32, f64))
#define FNN_QUOTE(name) #name
#define FNN_TEXT(name) FNN_QUOTE(name)

extern const fnn_kernels FNN_TABLE;

const fnn_kernels FNN_TABLE = {
    .isa = FNN_TEXT(FNN_ISA_NAME),
    .dtype = FNN_PICK(FNN_F32, FNN_F64),
    .item = sizeof(real),
#define FNN_UPDATE(code, name, ...) .update[code] = fnn_##name,
#include "../defs/update_rules.def"
#undef FNN_UPDATE
#define FNN_KERNEL(name, result, arguments) .name = fnn_##name,
#include "../defs/kernels.def"
#undef FNN_KERNEL
};
