"""A manifold loss: the distance along the axes, as a pedestrian in a grid of streets walks it."""

from armada_cli import Component, Loss, hookimpl


class Manhattan(Loss):
    def __call__(self, p_ts, p_s):
        """p_ts, p_s: [n, 768] -> scalar: the mean over the pairs."""
        if p_ts.shape != p_s.shape:
            raise ValueError(f"projections of shape {tuple(p_ts.shape)} and {tuple(p_s.shape)} are no pairs")
        return (p_ts - p_s).abs().sum(1).mean()


@hookimpl
def armada_losses():
    return [Component("manhattan", "Distance along the axes", "example_loss:Manhattan", provides={"manifold"})]
