"""Which layers may run in INT8: ``python -m calibration search`` measures, selects and reports."""
