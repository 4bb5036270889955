"""Training, evaluation and the figures and tables of the paper."""

from engine.system.entry import quiet_interrupts

quiet_interrupts()
