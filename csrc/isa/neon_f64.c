#if defined(__aarch64__)
#define FNN_ISA_NEON 1
#define FNN_ISA_NAME neon
#define FNN_DOUBLE 1
#include "table.h"
#else
typedef int fnn_of_another_machine; /* C knows no empty file */
#endif
