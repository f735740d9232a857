/* Included before all sources where packaging/wheels.sh builds for older C libraries: pow as it was before glibc 2.29, the same function
 * behind an older name. It is the only one that would need a newer library than manylinux_2_17. */
#if defined(__x86_64__)
__asm__(".symver pow, pow@GLIBC_2.2.5");
#elif defined(__aarch64__)
__asm__(".symver pow, pow@GLIBC_2.17");
#endif
