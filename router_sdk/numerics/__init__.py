"""What learned strategies are built from, whatever they learn from: plugins may import these rooms as they are.

====================== ======================================================================================
``shared_draw``        beliefs to choice probabilities, in closed form
``change_detection``   a change in what is expected of an agent: CUSUM (Page, 1954), ADWIN (Bifet and Gavaldà, 2007)
``distribution_shift`` whether two windows come from one distribution; where a series tends
``calibration``        from the confidence that was given to the reward that comes (Platt, 1999; isotonic)
``policy_selection``   which of several policies answers, by what each would have earned, with a bound
``policy_comparison``  what each would have earned, gathered from outcomes of every sort; the mixture that answers
``feedback_kind``      whether one agent is right or several succeed, and what a success says of the others
``request_finding``    which passage of a long text is the request
``reward_scale``       how large rewards are, and how far apart
``normal_gamma``       Bayesian linear regression per agent, updated in O(d²)
``linear_snapshot``    what requests read of it: single precision, double-buffered, a short list of many agents
``state_file``         arrays on disk with their checksum, read without trusting them; safetensors
====================== ======================================================================================

They know nothing of agents, logs and strategies, and import no room of the SDK but its errors. ``numpy`` is loaded with
the rooms that need it; nothing here is loaded with ``router_sdk``.
"""
