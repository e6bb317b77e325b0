"""How good the agent is: greedy episodes, the exported model, films."""
