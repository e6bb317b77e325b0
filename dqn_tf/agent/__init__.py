"""What the agent learns: network, losses, the update, and how it acts."""
