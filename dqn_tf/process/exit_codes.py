"""Exit codes: 0 success, 2 the user's mistake, 1 a bug, and the one below."""

EXIT_AGAIN = 143  # start this process again, as Kubernetes and others do for codes from 128 on
