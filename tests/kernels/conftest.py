"""What the kernels' tests need before each."""

from kernel_checks import teams_for_the_smallest_work  # noqa: F401
