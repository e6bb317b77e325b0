"""Where does this process run: the cluster, the strategy over it, and the local cluster that stands in for one."""
