"""The gateway: chat completions in OpenAI's form, answered by the upstream of the agent that was chosen."""
