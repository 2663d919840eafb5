"""Where fits are done: the contract, a child process, any command, and how a fit is carried elsewhere."""
