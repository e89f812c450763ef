"""Measuring: predictions in, scores with intervals, paired tests, baselines and calibration out.

Nothing is imported here, so that a caller pays only for the module that it uses.
"""
