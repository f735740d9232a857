#if defined(__x86_64__)
#define FNN_ISA_AVX512 1
#define FNN_ISA_NAME avx512
#define FNN_DOUBLE 1
#include "table.h"
#else
typedef int fnn_of_another_machine; /* C knows no empty file */
#endif
