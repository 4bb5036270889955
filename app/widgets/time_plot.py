"""A plot over the last seconds; pyqtgraph is slow to import, so that it is made when it is shown first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from app.widgets.theme import colors


def time_plot(
    tr: Callable[[str], str], *, history_s: float, margin_s: float, ticks_s: Sequence[int], axis_px: int
) -> Any:
    """A `pyqtgraph.PlotWidget` that the mouse does not move.

    Args:
        tr: translates labels.
        history_s: the seconds before now that it shows.
        margin_s: room for the last label, on the right.
        ticks_s: seconds before now that have a label.
        axis_px: width of the vertical axis.
    """
    import pyqtgraph as graph

    graph.setConfigOptions(antialias=True, background=colors().panel, foreground=colors().faint)
    plot = graph.PlotWidget()
    plot.setMenuEnabled(False)
    plot.setMouseEnabled(x=False, y=False)
    plot.hideButtons()
    plot.showGrid(x=False, y=True, alpha=0.18)
    plot.setXRange(-history_s, margin_s, padding=0)
    plot.getAxis("left").setWidth(axis_px)
    plot.getAxis("bottom").setHeight(20)
    ticks = [(-second, tr("−{n} s").format(n=second) if second else tr("now")) for second in ticks_s]
    plot.getAxis("bottom").setTicks([ticks])
    return plot
