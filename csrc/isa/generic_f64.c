#define FNN_ISA_GENERIC 1
#define FNN_ISA_NAME generic
#define FNN_DOUBLE 1
#include "table.h"
