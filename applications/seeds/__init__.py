"""Quality of seeds: rebalance classes, classify two views, choose which pictures to label."""
