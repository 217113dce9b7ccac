"""Precision by measurement: choose images, collect ranges, type the graph FP16, place Q/DQ, search what may be INT8."""
