#if defined(__x86_64__)
#define FNN_ISA_AVX2 1
#define FNN_TABLE fnn_kernels_avx2
#define FNN_TABLE_NAME "avx2"
#include "table.h"
#else
typedef int fnn_of_another_machine; /* C knows no empty file */
#endif
