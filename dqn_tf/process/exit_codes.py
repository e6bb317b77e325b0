"""What a process says of its end: 0 done, 2 the user's mistake, 1 a bug, and the one here."""

EXIT_AGAIN = 143  # start me again: Kubernetes and its kin restart codes from 128 on
