"""Keeps proxies out of the way between workers: gRPC would ask http_proxy even for 127.0.0.1, and wait for ever."""

from collections.abc import Iterable, Mapping

_PROXIES = ("grpc_proxy", "http_proxy", "https_proxy", "all_proxy")


def around(hosts: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment variables that let no proxy come between this process and `hosts`; {} without a proxy.

    What the user has excepted stays so, and all else, such as a bucket, is still asked for by the proxy. gRPC reads
    no_grpc_proxy, and where that is not set no_proxy; others read no_proxy, and where that is not set NO_PROXY.
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
