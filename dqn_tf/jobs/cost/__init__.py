"""What a job will cost, and how long it will take."""
