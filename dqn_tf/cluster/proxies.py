"""Lets workers connect without a proxy: gRPC would use http_proxy even for 127.0.0.1, and wait forever."""

from collections.abc import Iterable, Mapping

_PROXIES = ("grpc_proxy", "http_proxy", "https_proxy", "all_proxy")


def around(hosts: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment variables by which connections to `hosts` use no proxy; {} if no proxy is set.

    The user's own exceptions stay, and all other connections, such as to a bucket, still use the proxy. gRPC reads
    no_grpc_proxy, else no_proxy; other libraries read no_proxy, else NO_PROXY.
    """
    if not any(name.lower() in _PROXIES and value for name, value in environ.items()):
        return {}
    names = [name for name in ("no_grpc_proxy", "NO_PROXY") if environ.get(name)]
    variables = {}
    for name in ("no_proxy", *names):
        given = environ.get(name) or (environ.get("NO_PROXY", "") if name == "no_proxy" else "")
        excepted = [host.strip() for host in given.split(",") if host.strip()]
        excepted += [host for host in dict.fromkeys(host.strip("[]") for host in hosts) if host not in excepted]
        variables[name] = ",".join(excepted)
    return variables
