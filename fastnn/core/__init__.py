"""What all parts of the package stand on: checks, fixed objects, tables of the kernels, atomic files, Parameter, threads and ISA."""
