#define FNN_ISA_GENERIC 1
#define FNN_TABLE fnn_kernels_generic
#define FNN_TABLE_NAME "generic"
#include "table.h"
