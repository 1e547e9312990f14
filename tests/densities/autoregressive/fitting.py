"""Training for the tests that learn."""

import torch


def fit(density, x, steps, *, learning_rate=1e-2, batch=200):
    """Maximize the likelihood of data."""
    optimizer = torch.optim.Adam(density.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (-density.log_prob(x[torch.randint(len(x), (batch,))]).mean()).backward()
        optimizer.step()
        schedule.step()
    return density.eval()
