#define FNN_ISA_GENERIC 1
#define FNN_ISA_NAME generic
#include "table.h"
