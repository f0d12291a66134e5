"""Conversion in one pass: filters, new rate, statistics and checksum, block by block.

plan = plan_one_pass([fir_kernel(512.0, low_hz=0.5, high_hz=99.5)], up=25, down=64)
one_pass = OnePass(plan, gain=gain, offset=offset)
for digital in pieces:
    blocks += one_pass.push(digital)
blocks += one_pass.finish()
figures = one_pass.figures()
"""

from physioscale.signal.onepass.converter import OnePass, RecordingFigures
from physioscale.signal.onepass.plan import OnePassPlan, plan_one_pass

__all__ = ["OnePass", "OnePassPlan", "RecordingFigures", "plan_one_pass"]
