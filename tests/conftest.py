"""Settings of the whole suite, made before fastnn is imported."""

import os

# Tests run teams larger than the machine, beside other work: members that wait should sleep, not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
