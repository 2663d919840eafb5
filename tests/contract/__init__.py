"""Every strategy is held to the contract, and the contract kit to its own promises."""
